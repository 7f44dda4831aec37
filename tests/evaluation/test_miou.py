"""Pixel counts and the three means, against scikit-learn's Jaccard index and cases done by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import jaccard_score

from cam_utils import data
from cam_utils.evaluation import map_counts, miou
from cam_utils.representative.fusion import Recipe
from cam_utils.representative.sources import DirectSource


def test_counts_agree_with_plain_comparison():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 7, 6, generator=generator)
    maps[0, 0, 0], maps[1] = 0.15, 0.0  # a value at the threshold, and an empty map
    truth, valid = (torch.rand(5, 7, 6, generator=generator) > 0.3 for _ in range(2))
    area, hit = map_counts.counts(maps, truth, valid)
    for k, t in enumerate(miou.THRESHOLDS):
        mask = maps >= t
        assert area[:, k].tolist() == (mask & valid).flatten(1).sum(1).tolist()
        assert hit[:, k].tolist() == (mask & valid & truth).flatten(1).sum(1).tolist()


@pytest.fixture(scope="module")
def measured():
    """Return the table of random maps on real scenes, the maps, and the scenes."""
    scenes = data.load("digits", "val", n=12, seed=3)
    generator = torch.Generator().manual_seed(0)
    kept = []

    def random_maps(images, pairs):
        maps = torch.rand(len(pairs), *images.shape[-2:], generator=generator).round(decimals=1)
        kept.append((maps / maps.amax((-2, -1), keepdim=True), pairs))
        return kept[-1][0]

    table = map_counts.evaluate_maps(
        DirectSource(random_maps, "random"), scenes, [Recipe("random")], preprocess=lambda x: x, batch_size=12,
        progress=False,
    )  # fmt: skip
    return table, *kept[0], scenes


def segmentations(scenes, maps, pairs, threshold):
    """Return true and predicted class (0..9, 10 = background) of every pixel, written out image by image."""
    true, predicted = [], []
    for i, scene in enumerate(scenes):
        own = np.full(scene.image.shape[-2:], 10)
        for digit, mask in zip(scene.objects, scene.masks, strict=True):
            own[mask.numpy()] = int(digit)
        rows = (pairs.image == i).nonzero()[:, 0]
        value, first = maps[rows].max(0)
        guess = np.where(value >= threshold, pairs.label[rows][first], 10)
        true.append(own.ravel())
        predicted.append(guess.ravel())
    return true, predicted


def test_m3_is_the_jaccard_index_of_the_segmentation(measured):
    table, maps, pairs, scenes = measured
    for threshold in (0.15, 0.9):
        true, predicted = segmentations(scenes, maps, pairs, threshold)
        classes = [*sorted({int(c) for c in pairs.label}), 10]
        expected = jaccard_score(np.concatenate(true), np.concatenate(predicted), labels=classes, average=None)
        found = miou.per_class(table, definition="M3", threshold=threshold)["random"]
        assert found.index[0] == "background"  # first here, last in the reference
        np.testing.assert_allclose(found.to_numpy()[1:-1], expected[:-1])
        assert found["background"] == pytest.approx(expected[-1])
        assert found["avg"] == pytest.approx(expected.mean())


def test_m1_pools_and_m2_averages(measured):
    table, maps, pairs, scenes = measured
    masks, truth = [], []
    for i, label in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True):
        truth.append(scenes[i].masks[scenes[i].objects == label].any(0).numpy().ravel())
    masks = [(m >= 0.15).numpy().ravel() for m in maps]
    pooled, single = {}, {}
    for label in sorted({int(c) for c in pairs.label}):
        rows = [k for k, c in enumerate(pairs.label.tolist()) if c == label]
        pooled[str(label)] = jaccard_score(
            np.concatenate([truth[k] for k in rows]), np.concatenate([masks[k] for k in rows])
        )
        single[str(label)] = np.mean([jaccard_score(truth[k], masks[k]) for k in rows])
    for definition, expected in (("M1", pooled), ("M2", single)):
        found = miou.per_class(table, definition=definition)["random"]
        assert found.drop("avg").to_dict() == pytest.approx(expected)
        assert found["avg"] == pytest.approx(np.mean(list(expected.values())))


def test_the_perfect_map_has_iou_one_and_the_empty_map_zero():
    scenes = data.load("digits", "val", n=6)

    def perfect(images, pairs):
        batch = data.collate(list(scenes))
        truth = map_counts.truths(batch, scenes.classes, scenes.classes)
        assert truth.pairs.label.tolist() == pairs.label.tolist()
        return truth.masks.float()

    for maps, m1 in ((perfect, 1.0), (lambda x, pairs: torch.zeros(len(pairs), *x.shape[-2:]), 0.0)):
        table = map_counts.evaluate_maps(
            DirectSource(maps, "x"), scenes, [Recipe("x")], preprocess=lambda x: x, batch_size=6, progress=False
        )
        assert miou.summary(table)["value"].tolist() == [m1]
        assert miou.sweep(table)["value"].tolist() == [m1] * len(miou.THRESHOLDS)


def small(methods):
    """Return a table of two images of one class: hits 1 of 2 and 3 of 3 true pixels."""
    rows = [
        {"image_index": i, "label": 0, "class": "a", "method": m, "truth": t, "area_0.15": area, "hit_0.15": hit}
        for m in methods
        for i, (t, area, hit) in enumerate([(2, 2, 1), (3, 3, 3)])
    ]
    return pd.DataFrame(rows)


def test_means_by_hand_and_intervals_around_them():
    table = small(["x", "y"])
    assert miou.summary(table)["value"].tolist() == pytest.approx([4 / 6] * 2)  # pooled: 4 of 6
    assert miou.summary(table, definition="M2")["value"].tolist() == pytest.approx([(1 / 3 + 1) / 2] * 2)
    row = miou.summary(table).iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((1 / 3, 1.0))  # the two images alone
    assert (row["n_images"], row["n_pairs"]) == (2, 2)
    equal = miou.differences(table, [("x", "y")]).iloc[0]
    assert (equal["value"], equal["low"], equal["high"]) == (0, 0, 0)  # the same images in both


def test_a_class_without_images_is_left_out_of_its_resample_and_comparisons_need_the_same_classes():
    table = pd.concat([small(["x"]), small(["y"]).assign(**{"class": "b", "label": 1, "image_index": 2})])
    both = pd.concat([table, small(["y"])], ignore_index=True)
    iou, mean = miou.miou(both[both["method"] == "y"], resamples=200)["y"]
    missing = np.isnan(iou).any(1)
    assert missing.any()  # some resamples drew only images of one class
    np.testing.assert_allclose(mean[missing], np.nanmax(iou[missing], axis=1))
    with pytest.raises(ValueError, match="x and y explain different classes"):
        miou.differences(both, [("x", "y")])


def test_bad_questions_say_what_is_wrong():
    table = small(["x"])
    with pytest.raises(ValueError, match="unknown definition of mIoU 'm1'"):
        miou.miou(table, definition="m1")
    with pytest.raises(ValueError, match=r"no threshold 0.2 \(it has 0.15\)"):
        miou.miou(table, threshold=0.2)
    with pytest.raises(ValueError, match="no annotated pixel"):
        miou.miou(table.iloc[:0])
    with pytest.raises(ValueError, match="unknown method 'z'"):
        miou.differences(table, [("x", "z")])
    with pytest.raises(ValueError, match="ascending thresholds"):
        map_counts.counts(torch.ones(1, 1, 1), *(torch.ones(1, 1, 1, dtype=torch.bool),) * 2, (0.5, 0.2))


def test_an_object_that_the_crop_cut_away_is_not_explained():
    scenes = list(data.load("digits", "val", n=2))
    gone = scenes[0]._replace(masks=torch.zeros_like(scenes[0].masks))
    truth = map_counts.truths(data.collate([gone, scenes[1]]), tuple("0123456789"), tuple("0123456789"))
    assert set(truth.pairs.image.tolist()) == {1}
    assert truth.masks.flatten(1).any(1).all()


def test_the_published_tables_are_read_under_one_name_per_method():
    single, below = miou.paper_matrix()
    assert single.shape == (20, 20)
    assert int(single.notna().to_numpy().sum()) == 380
    beats = (single > below.loc["Grad-CAM"].drop("avg")).to_numpy().sum()
    assert beats == 296  # of 380, in Table 1 of Meng et al.
    np.testing.assert_allclose(single.max(), below.loc["Top1"].drop("avg"))  # the best single pair of each class
    np.testing.assert_allclose(below.drop(columns="avg").mean(axis=1), below["avg"], atol=0.03)
    columns = [set(miou.paper_rows(number).index) for number in (2, 3, 4)]
    assert columns[0] == columns[1] == columns[2]
    assert len(columns[0]) == 15
    assert miou.paper_rows(4).loc["Rank-a+F", "VGG-19"] == miou.paper_rows(4).loc["S-1+A+F", "VGG-19"]  # r5
    five = miou.paper_rows(5)
    assert five.loc["Grad-CAM", ("VOC12", "val")] == five.loc["Grad-CAM", ("VOC12", "train")]  # r2
    with pytest.raises(ValueError, match="unknown table of mIoU '1'"):
        miou.paper_rows(1)


def test_single_comparisons_become_a_matrix():
    rows = [
        {"image_index": 0, "label": k, "class": c, "method": f"vs {s}", "truth": 4, "area_0.15": 4, "hit_0.15": hit}
        for k, c in enumerate("ab")
        for s, hit in (("a", 4), ("b", 2))
        if s != c
    ]
    found = miou.matrix(pd.DataFrame(rows), ["a", "b"])
    assert found.loc["b", "a"] == pytest.approx(2 / 6)  # class a compared with b
    assert found.loc["a", "b"] == 1
    assert np.isnan(found.loc["a", "a"])


def test_a_threshold_is_chosen_on_the_half_that_it_does_not_judge():
    # Two images of one class: the even one is best at 0.5 (IoU 1), the odd one at 0.1 (IoU 1/2).
    rows = {"image_index": [0, 1], "label": 0, "class": "a", "method": "m", "truth": 4, "image": ["x", "y"]}
    counts = {"area_0.1": [8, 2], "hit_0.1": [4, 2], "area_0.5": [4, 1], "hit_0.5": [4, 1]}
    table = pd.DataFrame(rows | counts)
    found, choices = miou.at_chosen_threshold(table, thresholds=(0.1, 0.5))
    assert choices.set_index("half")["threshold"].to_dict() == {"even": 0.1, "odd": 0.5}
    # Even judged at 0.1: 4 of 8; odd at 0.5: 1 of 4. Pooled: (4 + 1) / (8 + 4).
    value = miou.summary(found, threshold=miou.CHOSEN, resamples=1)["value"].item()
    assert value == pytest.approx(5 / 12)
    assert len(found) == len(table)
    with pytest.raises(ValueError, match="nothing to compare"):
        miou.at_chosen_threshold(table[:1], thresholds=(0.1, 0.5))


def test_a_table_stored_with_categories_gives_the_same(measured):
    table = measured[0]
    rest = table[table["class"] != "3"]
    stored = table.astype({"method": "category", "class": "category"})
    stored = stored[stored["class"] != "3"]  # "3" stays among the categories
    pd.testing.assert_frame_equal(miou.summary(stored, resamples=5), miou.summary(rest, resamples=5))
