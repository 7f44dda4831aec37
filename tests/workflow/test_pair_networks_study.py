"""The study of pair networks: its images, its rows, what it says of the common part, and going on after a kill."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from cam_utils import data
from cam_utils.data.views import View
from cam_utils.evaluation import miou
from cam_utils.networks import models
from cam_utils.representative.pair_networks import PairSchedule, training_rows
from workflow.studies import pair_network_facts as facts
from workflow.studies import pair_network_maps as maps
from workflow.studies import pair_network_training as training
from workflow.studies import pair_networks

TINY = training.Settings(
    classes=("dog", "cat", "horse", "person"), network="digits", weights=None, size=48, most=6, snapshots=(1, 2),
    schedule=PairSchedule(lr=1e-3, batch_size=6, epochs=1),
)  # fmt: skip


@pytest.fixture(scope="module")
def photographs(shared):
    return data.load("voc2012", "val", root=shared / "data", size=48, resize="crop")


@pytest.fixture(scope="module")
def load(photographs):
    def part(rows):
        return training.Held(photographs, list(rows), TINY.classes)

    rows = list(range(300, 316))
    test = View(photographs, rows, photographs.labels[rows], photographs.classes, {"rows": rows})
    return {"train": part(range(150)), "val": part(range(150, 300)), "test": test}.__getitem__


@pytest.fixture(scope="module")
def start():
    return models.build("digits", 4, seed=1)


def test_no_image_is_both_trained_on_and_judged(shared):
    settings = training.Settings(size=32)
    load = training.loader(shared / "data", settings)
    train, val, test = (load(split) for split in ("train", "val", "test"))
    ids = [set(each.ids) for each in (train, val, test)]
    assert not ids[0] & ids[1] | ids[0] & ids[2] | ids[1] & ids[2]
    assert train.labels.any(1).all()
    assert train.labels.shape[1] == 6
    assert set(settings.classes) <= set(test.classes)
    k = train.rows[7]
    assert torch.equal(train.images_uint8[7], train.dataset.pixels(k))
    shown = [settings.classes[c] for c in train.labels[7].nonzero()[:, 0]]
    assert shown == [c for c in settings.classes if train.dataset.labels[k][train.dataset.classes.index(c)]]
    for pair in settings.pairs:
        rows = training_rows(train.labels, pair, settings.most)
        assert train.labels[rows][:, pair].sum(0).tolist() == [150, 150]


def test_a_study_goes_on_and_tells_the_same(load, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(training, "loader", lambda root, settings: load)
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path))
    table, record = pair_networks.study(tmp_path, TINY, progress=False)
    keys = ["epoch", "of", "score", "rule", "with_a", "at"]
    assert not table.duplicated(keys).any()
    assert set(table["epoch"]) == {"0", "1", "2", "stop"}
    base = table[(table["rule"] == "Baseline") & ~table["with_a"] & (table["score"] == "logit")]
    assert len(base) == 4 * 2
    assert (base[["difference", "difference_low", "difference_high"]] == 0).all().all()
    rows = table[(table["of"] == "pair networks") & (table["at"] == "T = 0.15")].set_index(keys[:-1])
    value = base[base["at"] == "T = 0.15"].set_index("epoch")["value"]
    for key, row in rows.iterrows():
        assert row["difference"] == pytest.approx(row["value"] - value[key[0]])
    same = ["stop", "1"]  # one epoch is the stopping rule's limit
    first, second = (rows.xs(name, level="epoch")["value"].sort_index() for name in same)
    pd.testing.assert_series_equal(first, second)
    draws = rows["spread"].notna().groupby("rule").all()
    assert draws.to_dict() == {"All": False, "Random 2": True, "S-1": False, "mean single pair": True}
    trained = {each["of"]: each for each in record["collapse"] if each["epoch"] == "2"}
    pairs, whole = trained["pair networks"], trained["network of all classes"]
    assert pairs["common_moved"] < 1e-4 < 1e-3 < pairs["own_moved"]  # which is what the study explains
    assert 100 * pairs["common_moved"] < whole["common_moved"] < whole["own_moved"]  # Adam is not linear
    json.dumps(record)

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("cam_utils.representative.pair_networks._fit", never)
    again, known = pair_networks.study(tmp_path, TINY, progress=False)
    pd.testing.assert_frame_equal(again, table)
    assert known["trainings"] == record["trainings"]

    monkeypatch.setattr(pair_networks, "study", lambda *_: (table, record))
    monkeypatch.setattr("sys.argv", ["", "--data", str(tmp_path), "--out", str(tmp_path / "rows.csv")])
    pair_networks.main()
    printed, stored = capsys.readouterr().out, pd.read_csv(tmp_path / "rows.csv")
    assert "T of the other half" in printed
    np.testing.assert_allclose(stored["value"], table["value"], rtol=1e-4)
    told = json.loads((tmp_path / "rows.json").read_text())
    assert told["clusters"] == record["clusters"]
    assert {"git", "dirty", "versions", "command", "threads"} <= set(told)


def test_every_rule_compares_a_class_with_others():
    like = torch.tensor([1.0, 0.9, 0.8, 0.1, 0.2, 0.1])
    b = torch.eye(6) + like[:, None] * like
    chosen, clusters = maps.rules(b)
    singles = [(c, s[c][0]) for s in chosen["mean single pair"] for c in range(6)]
    assert sorted(singles) == [(c, s) for c in range(6) for s in range(6) if s != c]  # every ordered pair once
    assert all(sorted([c, *others]) == list(range(6)) for c, others in enumerate(chosen["All"][0]))
    for c, others in enumerate(chosen["S-1"][0]):
        groups = [next(g for g, group in enumerate(clusters.members) if s in group) for s in others]
        assert sorted(groups) == [0, 1]
        assert c not in others


def counted(told, hits):
    """Return (told, the table of two images of a class each) whose masks hold 10 pixels, `hits` of 10 true ones."""
    rows = []
    for method, (first, second) in hits.items():
        for index, (name, hit) in enumerate((("dog", first), ("cat", second))):
            row = {"image_index": index, "image": str(index), "label": index, "class": name, "truth": 10}
            for t in miou.THRESHOLDS:
                row |= {f"area_{t:g}": 10, f"hit_{t:g}": hit, f"seg_area_{t:g}": 10, f"seg_hit_{t:g}": hit}
            rows.append(row | {"method": method})
    return told, pd.DataFrame(rows)


def test_rows_are_means_of_draws_and_differ_from_the_baseline_of_their_epoch():
    iou = {hit: hit / (20 - hit) for hit in range(11)}
    base = {"epoch": "1", "of": "network of all classes", "score": "logit"}
    ours = {"epoch": "1", "of": "pair networks", "score": "logit"}
    found = maps.table_of(
        [
            counted(base, {"Baseline": (4, 4), "Baseline+A": (8, 8)}),
            counted(ours, {"Random 2, 0": (5, 5), "Random 2, 1": (7, 7), "Random 2+A, 0": (8, 6)}),
            counted(base | {"epoch": "3"}, {"Baseline": (10, 10), "Baseline+A": (9, 9)}),
        ]
    )
    row = found[(found["of"] == "pair networks") & (found["at"] == "T = 0.15")].set_index("with_a")
    mean = (iou[5] + iou[7]) / 2
    assert row.loc[False, "value"] == pytest.approx(mean)
    assert row.loc[False, "spread"] == pytest.approx((iou[7] - iou[5]) / 2)
    assert row.loc[False, "difference"] == pytest.approx(mean - iou[4])
    assert row.loc[False, "difference_same"] == row.loc[False, "difference"]
    assert row.loc[True, "difference"] == pytest.approx((iou[8] + iou[6]) / 2 - iou[4])
    assert row.loc[True, "difference_same"] == pytest.approx((iou[8] + iou[6]) / 2 - iou[8])
    assert np.isnan(row.loc[True, "spread"])
    assert row["n_images"].tolist() == row["n_pairs"].tolist() == [2, 2]


def test_the_common_part_of_two_opposite_rows_is_nothing_and_of_equal_rows_everything():
    generator = torch.Generator().manual_seed(0)
    activations, row = torch.rand(3, 5, 4, 4, generator=generator), torch.randn(5, generator=generator)
    shown = torch.tensor([[True, False], [True, True], [False, True]])
    opposite = facts.parts_of_maps(activations, torch.stack([row, -row]), shown)
    assert opposite["own"] == pytest.approx(1, abs=1e-5)
    assert opposite["other"] == pytest.approx(-1, abs=1e-5)
    assert opposite["mass"] == pytest.approx(0, abs=1e-6)
    nearly = torch.stack([row, row + 1e-4 * row.flip(0)])
    equal = facts.parts_of_maps(activations, nearly, shown)
    assert equal["common"] == pytest.approx(1, abs=1e-3)
    assert equal["other"] == pytest.approx(1, abs=1e-3)
    assert equal["mass"] == pytest.approx(1, abs=1e-2)
    dark = facts.parts_of_maps(activations, torch.stack([-row.abs(), row.abs()]), shown)
    assert dark["dark"] == 0.5  # two of the four maps are of the class whose row is negative


def test_the_share_of_the_common_part_is_that_of_independent_rows_at_the_start():
    generator = torch.Generator().manual_seed(0)
    for n in (2, 6):
        rows = torch.randn(n, 20_000, generator=generator)
        assert facts.common_part(rows, rows + 1)["common_share"] == pytest.approx(1 / n, abs=0.02)


def test_what_heads_learned_is_the_whole_without_the_start(load, start, tmp_path, monkeypatch):
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path))
    settings = dataclasses.replace(TINY, classes=("dog", "cat"), snapshots=(1,), seed=1)
    train = load("train")
    train = training.Held(train.dataset, list(train.rows), settings.classes)
    found, times = training.trained(train, settings, progress=False)
    assert list(times) == ["dog cat"]
    assert times["dog cat"]["images"] == 12
    assert times["dog cat"]["epochs"]["stop"]["epochs"] == 1
    two = models.build("digits", 2, seed=1)
    less = maps.learned_only(found, two, 1)(0, 1)
    before = maps.untrained(two, (0, 1), 1).head.weight
    torch.testing.assert_close(less.head.weight + before, found(0, 1).head.weight)
    assert less.head.weight.abs().max() <= 1.01 * 1e-3 * len(range(0, 12, 6))  # Adam's steps: the rate at the most
    assert torch.equal(less.features[0][0].weight, found(0, 1).features[0][0].weight)
