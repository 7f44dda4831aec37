"""Scores of maps without annotation, against a plain computation; the shell's door to them."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from torch import nn

import cam_utils
from cam_utils import data
from cam_utils.__main__ import main


def corner(query):
    """A method that ignores the network: the upper left quarter."""
    maps = query.activations.new_zeros(len(query.pairs), 4, 4)
    maps[:, :2, :2] = 1
    return maps


@pytest.fixture
def folder(photo, tmp_path):
    (tmp_path / "pictures").mkdir()
    photo.save(tmp_path / "pictures" / "a.png")
    photo.crop((0, 0, 100, 400)).save(tmp_path / "pictures" / "b.png")
    return tmp_path / "pictures"


def test_scores_equal_a_plain_computation(folder):
    model = cam_utils.load_model("digits")
    table = cam_utils.evaluate(model, folder, ["grad-cam", corner], [3, 7])
    assert table["method"].tolist() == ["grad-cam"] * 4 + ["corner"] * 4
    assert table["picture"].tolist() == ["a.png", "a.png", "b.png", "b.png"] * 2
    for method in ("grad-cam", corner):
        found = cam_utils.explain(model, folder, [3, 7], method=method)
        x = torch.cat([model.read(path) for path in found.pictures])[found.pairs.image]
        with torch.no_grad():
            kept = model.model(x * found.maps[:, None]).sigmoid()
            rest = model.model(x * (1 - found.maps[:, None])).sigmoid()
        name = method if isinstance(method, str) else "corner"
        rows = table[table["method"] == name].reset_index()
        for i, label in enumerate(found.pairs.label.tolist()):
            p, masked = float(found.probabilities[found.pairs.image[i], label]), float(kept[i, label])
            assert rows["p"][i] == pytest.approx(p, abs=1e-6)
            assert rows["p_masked"][i] == pytest.approx(masked, abs=1e-5)
            assert rows["p_complement"][i] == pytest.approx(float(rest[i, label]), abs=1e-5)
            assert rows["average_drop"][i] == pytest.approx(max(0, p - masked) / p, abs=1e-3)
            assert rows["area"][i] == pytest.approx(float(found.maps[i].mean()))
    # b.png is 100 x 400: three quarters of the square are bars, and the corner lies on them but for an eighth.
    bars = table[table["method"] == "corner"]["in_bars"].tolist()
    assert bars[2] == pytest.approx(0.74, abs=0.05) and bars[2] == bars[3]


def test_methods_that_the_head_does_not_allow_are_left_out_and_named(folder):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 8), nn.ReLU(), nn.Linear(8, 3)]
    model = cam_utils.load_model(nn.Sequential(*body).eval(), size=64)
    table = cam_utils.evaluate(model, folder, labels=[0, 2])
    assert set(table.attrs["left_out"]) == {"cam", "minmax-cam", "d-minmax-cam", "ss-cam", "ss-cam-mean"}
    with pytest.warns(UserWarning, match="minmax-cam is left out: minmax-cam needs global average pooling"):
        table = cam_utils.evaluate(model, folder, ["minmax-cam", "grad-cam"], [0, 2])
    assert set(table["method"]) == {"grad-cam"}
    with pytest.raises(ValueError, match="cam needs global average pooling"):
        cam_utils.evaluate(model, folder, "cam", [0, 2])


def test_a_data_set_gives_the_pairs_table():
    model = cam_utils.load_model("digits")
    scenes = data.load("digits", "val", n=3, size=96)
    table = cam_utils.evaluate(model, scenes, ["cam"], progress=False, explained="annotated")
    assert {"is_annotated", "in_annotated", "average_drop"} <= set(table.columns)
    with pytest.raises(TypeError, match="options of a data set, explained, for pictures"):
        cam_utils.evaluate(model, torch.zeros(1, 3, 96, 96), ["cam"], explained="annotated")


def test_the_shell_writes_overlays_tables_and_scores(folder, tmp_path, capsys):
    out = tmp_path / "out"
    (folder / "c.jpg").write_text("no picture")
    main(
        [str(folder), "--model", "digits", "--labels", "3", "7", "--out", str(out), "--scores", "cam", "score-cam"]
    )
    printed = capsys.readouterr().out
    assert "left out c.jpg: c.jpg cannot be read" in printed and "4 overlays are in" in printed
    assert len(list(out.glob("*.jpg"))) == 4 and len(pd.read_csv(out / "scores.csv")) == 8
    main([str(folder / "a.png"), "--model", "digits", "--labels", "3", "--against", "--signed", "--out", str(out)])
    assert "a" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.jpg"], "cam_utils: no picture at none.jpg"),
        (["PICTURE", "--labels", "eleven"], "unknown label 'eleven'"),
        (["PICTURE", "--labels", "11"], r"in 0\.\.9"),
        (["PICTURE", "--method", "gradcam"], "unknown method 'gradcam'; did you mean 'grad-cam'"),
        (["PICTURE", "--layer", "layer4"], "unknown layer 'layer4'"),
        (["PICTURE", "--classes", "none.txt"], "no file of class names at none.txt"),
        (["PICTURE", "--size", "0"], "size as a whole number"),
        (["PICTURE", "--model", "resnet19"], "unknown .*'resnet19'; did you mean 'resnet18'"),
    ],
)
def test_the_shell_refuses_in_one_sentence(arguments, sentence, folder):
    given = [str(folder / "a.png") if each == "PICTURE" else each for each in arguments]
    with pytest.raises(SystemExit, match=sentence) as refused:
        main([*(() if "--model" in given else ("--model", "digits")), *given])
    assert "\n" not in str(refused.value)


def test_help_teaches():
    done = subprocess.run([sys.executable, "-m", "cam_utils", "--help"], capture_output=True, text=True, check=True)
    for part in ("examples:", "studio couch", "--signed", "minmax-grad-cam", "--scores"):
        assert part in done.stdout
