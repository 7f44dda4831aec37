"""The study of real ImageNet images: its means by hand, and its whole run on a small tree with boxes."""

import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torchvision

from cam_utils import files
from cam_utils.pairs import Pairs
from tests.data.test_imagenet import KAGGLE, write
from workflow.studies import imagenet


def test_means_and_paired_differences_by_hand():
    rows = [
        {
            "image_index": i,
            "label": 0,
            "class": "a",
            "method": method,
            "in_predicted": True,
            "in_annotated": True,
            "set_size": 1,
        }
        | {"is_annotated": True, "average_drop": drop, "increase_in_confidence": 0.0, "energy_in_box": box}
        for method, drops, boxes in (("score-cam", (0.2, 0.4), (0.5, 0.5)), ("ss-cam", (0.3, 0.7), (0.1, 0.2)))
        for i, (drop, box) in enumerate(zip(drops, boxes, strict=True))
    ]
    table = pd.DataFrame(rows)
    found = imagenet.summary(table).set_index(["minus", "method", "metric"])["value"]
    assert found["", "ss-cam", "average_drop"] == pytest.approx(0.5)
    assert found["score-cam", "ss-cam", "average_drop"] == pytest.approx(0.2)
    assert found["score-cam", "ss-cam", "energy_in_box"] == pytest.approx(-0.35)
    without = imagenet.summary(table.assign(energy_in_box=float("nan")))
    assert set(without["metric"]) == {"average_drop", "increase_in_confidence"}


def test_the_plain_mean_is_that_of_the_channels():
    activations = torch.tensor([[[[1.0, -3.0]], [[2.0, 1.0]]]])
    query = SimpleNamespace(activations=activations, pairs=Pairs.one().take([0, 0]))
    assert imagenet.plain_mean(query).tolist() == [[[3.0, 0.0]]] * 2


def test_a_run_has_a_record_and_keeps_other_networks(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    write(tmp_path / "imagenet", KAGGLE, classes=False, solution=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_0(weights=None).state_dict(), tmp_path / "weights.pth")
    classes = [f"n{i:08} class {i}" for i in range(90000000, 90000996)]  # after the four of the tree
    with (tmp_path / "imagenet" / "LOC_synset_mapping.txt").open("a") as file:
        file.write("".join(f"{line}\n" for line in classes))
    monkeypatch.setattr(files, "DATA", tmp_path)
    monkeypatch.setattr(imagenet, "METHODS", ("grad-cam", "score-cam"))
    file = tmp_path / "results" / "sscam_imagenet.csv"
    imagenet.store(file, "resnet18", pd.DataFrame({"method": ["ss-cam"], "minus": [""]}), {"top1": 1.0})
    command = f"study --root {tmp_path} --weights {tmp_path / 'weights.pth'} --images 1 --device cpu"
    monkeypatch.setattr(sys, "argv", command.split())
    imagenet.main()
    stored = pd.read_csv(file, keep_default_na=False)
    assert list(stored["network"].unique()) == ["resnet18", "squeezenet1_0"]
    own = stored[(stored["network"] == "squeezenet1_0") & (stored["minus"] == "")]
    assert set(own["method"]) == {"grad-cam", "score-cam", imagenet.PLAIN}
    assert own.loc[own["metric"] == "energy_in_box", "n_images"].eq("1").all()
    records = pd.read_json(file.with_suffix(".json"))
    assert records["resnet18"]["top1"] == 1.0 and "--images 1" in records["squeezenet1_0"]["command"]
