"""The studies' command lines: a value that cannot be is refused in a sentence, before a study begins."""

import importlib
import sys

import pytest

NAMES = (
    "ablations", "comparison_photographs", "explorer_photographs", "fewer_forwards", "pair_networks", "photographs",
    "representative_photographs", "representative_single", "sanity_photographs", "smoothed_photographs",
)  # fmt: skip
COUNT = "expected a whole number, {} or more, got {}"


def refused(monkeypatch, capsys, name, *arguments):
    """Return the last line that a study prints before it ends with 2."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"workflow.studies.{name}").main()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "explorer_photographs"])
def test_a_folder_that_is_not_there(monkeypatch, capsys, name):
    option = "--root" if name in ("sanity_photographs", "smoothed_photographs") else "--data"
    said = refused(monkeypatch, capsys, name, option, "nowhere")
    assert said.endswith(f"argument {option}: expected a folder that is there, got 'nowhere'")


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        ("ablations", "--seeds", "0", COUNT.format(1, "'0'")),
        ("ablations", "--only", "none", "invalid choice: 'none' (choose from"),
        ("comparison_photographs", "--images", "-3", COUNT.format(1, "'-3'")),
        ("comparison_photographs", "--methods", "gradcam", "invalid choice: 'gradcam' (choose from"),
        ("explorer_photographs", "--smoothed", "one", COUNT.format(0, "'one'")),
        ("fewer_forwards", "--images", "1.5", COUNT.format(1, "'1.5'")),
        ("pair_networks", "--threads", "0", COUNT.format(1, "'0'")),
        ("photographs", "--rates", "nan", "expected a number above 0, got 'nan'"),
        ("photographs", "--rates", "-0.1", "expected a number above 0, got '-0.1'"),
        ("photographs", "--limit", "0", COUNT.format(1, "'0'")),
        ("representative_photographs", "--least", "0", COUNT.format(1, "'0'")),
        ("sanity_photographs", "--images", "", COUNT.format(1, "''")),
        ("smoothed_photographs", "--mosaics", "-1", COUNT.format(0, "'-1'")),
        ("smoothed_photographs", "--seed", "1e3", COUNT.format(0, "'1e3'")),
    ],
)
def test_a_value_that_cannot_be(monkeypatch, capsys, name, option, value, expected):
    said = refused(monkeypatch, capsys, name, f"{option}={value}")
    assert f"argument {option}: {expected}" in said
