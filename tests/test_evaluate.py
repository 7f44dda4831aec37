"""The pass over a dataset: against the protocol written as loops, killed and resumed, and its front door."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images

from cam_utils import data, evaluate, maps, methods, models
from cam_utils.cams import pairs_of


@pytest.fixture(scope="module")
def model():
    """A digits network whose untrained head predicts a mix of labels on every scene."""
    built = models.build("digits", 10, seed=1)
    with torch.no_grad():
        for module in built.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        built.train()
        scenes = data.load("digits", "val", n=24)
        features = built.preprocess(torch.stack([s.image for s in scenes]))
        built.head.bias[:] = -built(features).median(0).values
    return built.eval()


@pytest.fixture(scope="module")
def scenes():
    return data.load("digits", "val", n=24)


@torch.no_grad()
def _reference_protocol(model, scenes, method):
    """SPEC P1.e, one pair at a time, with scalars."""
    rows = []
    for i, sample in enumerate(scenes):
        x = model.preprocess(sample.image[None])
        a, p = model.features(x), model(x).sigmoid()[0]
        w = model.head.weight
        predicted, annotated = p > 0.5, sample.labels > 0
        for kind, present in (("predicted", predicted), ("annotated", annotated)):
            labels = present.nonzero()[:, 0].tolist()
            for c in labels:
                others = [n for n in labels if n != c]
                alpha = w[c].clone()
                if method == "minmax-cam" and others:
                    alpha -= w[others].mean(0)
                m = maps.minmax((alpha[:, None, None] * a[0]).sum(0, keepdim=True).relu())
                m = maps.upsample(m, x.shape[-2:])[0]
                o, oc = model(x * m).sigmoid()[0], model(x * (1 - m)).sigmoid()[0]
                drop, cut = ((p - s).clamp(min=0) / p for s in (o, oc))
                row = {
                    "image_index": i,
                    "label": c,
                    "kind": kind,
                    "p": p[c],
                    "p_masked": o[c],
                    "p_complement": oc[c],
                }
                row |= {"increase_in_confidence": float(p[c] < o[c]), "average_drop": drop[c]}
                row |= {"average_drop_others": drop[others].mean() if others else np.nan}
                row |= {"average_retention": cut[c]}
                row |= {"average_retention_others": cut[others].mean() if others else np.nan}
                rows.append({k: v if isinstance(v, (str, int)) else float(v) for k, v in row.items()})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("method", ["cam", "minmax-cam"])
def test_equals_the_protocol_written_as_loops(model, scenes, method):
    table = evaluate.evaluate(model, scenes, [method], progress=False, batch_size=5, chunk=7)
    expected = _reference_protocol(model, scenes, method)
    for kind, wanted in expected.groupby("kind"):
        ours = table[table[f"in_{kind}"]].sort_values(["image_index", "label"])
        assert len(ours) == len(wanted)
        for column in wanted.columns.drop("kind"):
            np.testing.assert_allclose(ours[column], wanted[column], rtol=1e-3, atol=1e-5, err_msg=column)


def test_the_table_has_each_pair_once_per_set_and_method(model, scenes):
    table = evaluate.evaluate(model, scenes, ["cam", "d-minmax-cam", "grad-cam++"], progress=False)
    p = evaluate.predict(model, scenes)
    for method, rows in table.groupby("method"):
        assert not rows.duplicated(["image_index", "label", "in_predicted"]).any(), method
        predicted = rows[rows["in_predicted"]]
        assert len(predicted) == int((p > 0.5).sum())
        assert rows["in_annotated"].sum() == int(scenes.labels.sum())
        annotated = rows[rows["is_annotated"]].drop_duplicates(["image_index", "label"])
        assert len(annotated) <= int(scenes.labels.sum())
    assert table.loc[table["is_annotated"], "energy_in_mask"].notna().mean() > 0.9
    assert table.loc[~table["is_annotated"], "energy_in_mask"].isna().all()


def test_batch_size_and_chunk_change_nothing(model, scenes):
    first = evaluate.evaluate(model, scenes, ["score-cam"], progress=False, batch_size=4, chunk=8)
    second = evaluate.evaluate(model, scenes, ["score-cam"], progress=False, batch_size=24, chunk=100)
    keys = ["image_index", "label", "in_predicted"]
    first, second = (t.sort_values(keys).reset_index(drop=True) for t in (first, second))
    pd.testing.assert_frame_equal(first, second, rtol=1e-3, atol=1e-5)


WORKER = """
import sys, torch
from cam_utils import data, evaluate, models
torch.set_num_threads(1)
model = models.build("digits", 10, seed=1, bias=0.3)
scenes = data.load("digits", "val", n=40)
evaluate.evaluate(model, scenes, ["cam", "score-cam"], folder=sys.argv[1], batch_size=2, progress=False)
print("finished")
"""


def test_killed_in_the_middle_and_started_again_gives_the_same_table(tmp_path):
    def start(folder):
        return subprocess.Popen([sys.executable, "-c", WORKER, str(folder)], stdout=subprocess.PIPE)

    whole = start(tmp_path / "whole")
    assert b"finished" in whole.communicate(timeout=240)[0]
    killed = tmp_path / "killed"
    for wanted in (2, 5):
        process = start(killed)
        deadline = time.time() + 120
        while len(list(killed.glob("parts/*.parquet"))) < wanted and time.time() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert not (killed / "pairs.parquet").exists()
        assert wanted <= len(list(killed.glob("parts/*.parquet"))) < 20
    last = start(killed)
    assert b"finished" in last.communicate(timeout=240)[0]
    tables = [pd.read_parquet(tmp_path / name / "pairs.parquet") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)
    assert not tables[1].duplicated(["image_index", "label", "method", "in_predicted"]).any()
    assert not list(killed.rglob("*.partial")) and not list(killed.glob("parts/*"))


def test_a_resumed_run_does_not_redo_a_complete_part(model, scenes, tmp_path, monkeypatch):
    original, done = evaluate.evaluate_batch, []

    def counting(*args, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args[1].ids)
        return original(*args, **options)

    monkeypatch.setattr(evaluate, "evaluate_batch", counting)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(model, scenes, ["cam"], folder=tmp_path, batch_size=6, progress=False)
    monkeypatch.setattr(evaluate, "evaluate_batch", lambda *a, **o: done.append(a[1].ids) or original(*a, **o))
    table = evaluate.evaluate(model, scenes, ["cam"], folder=tmp_path, batch_size=6, progress=False)
    assert [name for ids in done for name in ids] == scenes.ids
    pd.testing.assert_frame_equal(table, pd.read_parquet(tmp_path / "pairs.parquet"))


def test_a_folder_of_another_evaluation_is_refused(model, scenes, tmp_path):
    evaluate.evaluate(model, scenes, ["cam"], folder=tmp_path, progress=False)
    with pytest.raises(
        ValueError, match=r"rows of another evaluation \(different: methods\); choose another folder"
    ):
        evaluate.evaluate(model, scenes, ["grad-cam"], folder=tmp_path, progress=False)


def test_a_model_for_other_classes_is_refused(scenes):
    with pytest.raises(ValueError, match="the model has 80 labels, the dataset 10"):
        evaluate.evaluate(models.build("digits", 80), scenes, ["cam"])


# The front door


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(load_sample_images().images[0])


def test_explain_is_one_line_on_a_stock_network_and_a_photo(photo):
    network = torchvision.models.resnet18(weights=None)
    found = evaluate.explain(network, photo, [[3, 5, 900]])
    assert found.maps.shape == (3, 224, 224) and found.layer is network.layer4
    assert found.pairs.label.tolist() == [3, 5, 900]
    assert found.maps.min() >= 0 and found.maps.max() <= 1


def test_explain_mixed_label_counts_equals_one_image_at_a_time(model):
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    labels = [[1], [2, 3], [0, 4, 5, 9]]
    for method in methods.METHODS:
        together = evaluate.explain(model, images, labels, method=method).maps
        alone = [evaluate.explain(model, images[i : i + 1], [labels[i]], method=method).maps for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_explain_predicts_when_no_labels_are_given(model):
    images = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = evaluate.explain(model, images)
    assert torch.equal(found.scores > 0.5, _present(found, images))
    softmax = evaluate.explain(model, images, scores="softmax")
    assert softmax.pairs.label.tolist() == softmax.scores.argmax(1).tolist()


def _present(found, images):
    present = torch.zeros(len(images), 10, dtype=torch.bool)
    present[found.pairs.image, found.pairs.label] = True
    return present


def test_explain_reads_paths_and_a_given_layer(photo, tmp_path):
    photo.save(tmp_path / "a.png")
    network = torchvision.models.resnet18(weights=None)
    by_path = evaluate.explain(network, [tmp_path / "a.png", photo], [[1], [1]], layer=network.layer3)
    assert by_path.layer is network.layer3
    torch.testing.assert_close(by_path.maps[0], by_path.maps[1])


def test_a_photo_stored_sideways_is_explained_upright(model, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to see it upright
    photo.rotate(90, expand=True).save(tmp_path / "sideways.png", exif=exif)
    upright = evaluate.explain(model, photo, [[1]]).scores
    torch.testing.assert_close(evaluate.explain(model, tmp_path / "sideways.png", [[1]]).scores, upright)


def test_activations_without_channels_first_are_refused(photo):
    network = torchvision.models.swin_t(weights=None)
    with pytest.raises(
        ValueError, match=r"expected activations \(B,K,H,W\) with channels first, got \(1, 7, 7, 768\)"
    ):
        evaluate.explain(network, photo, [[1]])


def test_bad_input_to_explain_is_named(model, photo, tmp_path):
    images = torch.randn(2, 3, 96, 96)
    broken = images.clone()
    broken[1, 0, 5, 5] = torch.nan
    cases = [
        (
            (images, [[1], [2]]),
            {"method": "min-max-cam"},
            "unknown method 'min-max-cam'; did you mean 'minmax-cam'",
        ),
        ((broken, [[1], [2]]), {}, "image 1 of the batch has NaN"),
        ((images[0], [[1]]), {}, r"expected float images \(B,3,h,w\), got torch.float32 \(3, 96, 96\)"),
        ((images, [[1], []]), {}, "image 1 has an empty set of labels"),
        ((images, [[1]]), {}, "one list of labels for each of the 2 images, got 1"),
        ((images, [[1], [10]]), {}, r"expected labels in 0..9 for image 1, got \[10\]"),
        ((images, torch.ones(2, 3, dtype=torch.bool)), {}, r"expected labels \(B,L\) = \(2, 10\), got \(2, 3\)"),
        ((images,), {"threshold": 1.0}, "no label of any image has p > 1.0"),
        ((images, [[1], [2]]), {"scores": "sigmod"}, "unknown score function 'sigmod'; did you mean 'sigmoid'"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            evaluate.explain(model, *arguments, **options)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    with pytest.raises(OSError, match=r"cut\.jpg cannot be read as an image"):
        evaluate.explain(model, tmp_path / "cut.jpg", [[1]])
    photo.save(tmp_path / "whole.jpg")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    with pytest.raises(OSError, match=r"truncated\.jpg cannot be read as an image"):
        evaluate.explain(model, tmp_path / "truncated.jpg", [[1]])
    with pytest.raises(ValueError, match=r"expected a tensor \(B,3,h,w\), PIL images or paths, got ndarray"):
        evaluate.explain(model, np.zeros((3, 96, 96)), [[1]])
    with pytest.raises(ValueError, match=r"an index or a list of indices of labels, got \[\['dog'\]\]"):
        evaluate.explain(model, photo, [["dog"]])
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        evaluate.explain(model, tmp_path / "none.jpg", [[1]])


def test_a_cam_form_on_a_fully_connected_head_names_the_gradient_form(photo):
    network = torchvision.models.alexnet(weights=None)
    with pytest.raises(ValueError, match=r"minmax-cam needs global average pooling .* \(minmax-grad-cam\)"):
        evaluate.explain(network, photo, [[1, 2]], method="minmax-cam")
    assert evaluate.explain(network, photo, [[1, 2]]).maps.shape == (2, 224, 224)


def test_explain_needs_no_gradients_of_the_model_and_leaves_it(model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = evaluate.explain(model, torch.randn(1, 3, 96, 96), [[1, 2]], method="score-cam")
    assert not found.maps.requires_grad and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert len(pairs_of(torch.ones(1, 2, dtype=torch.bool))) == len(found.pairs)
