"""The README: its code runs as printed, its commands exist, what it says of its pictures is measured."""

import re
import shlex
import socket
import subprocess

import pandas as pd
import pytest

from cam_utils.__main__ import main as cam_utils_command
from tests.conftest import ROOT
from workflow.site import landing_picture

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the project's data and without a network."""

    def offline(*_arguments):
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, offline)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", range(3))
def test_each_block_of_code_runs_by_itself(block, folder):
    seen: dict = {}
    exec(BLOCKS[block], seen)
    if block == 0:
        files = sorted(file.name for file in (folder / "overlays").iterdir())
        assert files == [f"{landing_picture.PHOTO}_{n}_minmax-cam.jpg" for n in ("281-tabby", "761-remote-control")]
    elif block == 1:
        assert len(seen["found"].maps) == 6 and "six maps" in BLOCKS[1]
    else:
        assert set(seen["scores"]["method"]) == {"cam", "minmax-cam"}
    assert len(BLOCKS) == 3 and BLOCKS[block].count("\n") <= 10


def test_the_command_of_the_shell_runs(folder):
    (line,) = [line for line in TEXT.splitlines() if "-m cam_utils " in line]
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/python" and arguments[:2] == ["-m", "cam_utils"]
    assert cam_utils_command(arguments[2:]) in (None, 0)
    assert len(list((folder / "overlays").iterdir())) == 2


def test_every_target_of_make_that_it_names_exists():
    listed = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"\bmake ([a-z-]+)", TEXT))
    assert {"book", "test", "help"} <= named
    assert named - {"help"} <= set(re.findall(r"^make (\S+)", listed, re.M)), named


def test_it_says_how_much_of_the_pictures_maps_is_where():
    rows = pd.read_csv(landing_picture.FOLDER / landing_picture.SHARES).set_index(["method", "label"])
    said = [int(n) for n in re.findall(r"(\d+)%", TEXT.split("In the pictures")[1].split("\n\n")[0])]
    wanted = [rows.loc[(m, "remote control"), part] for m in ("cam", "minmax-cam") for part in ("other", "own")]
    assert said == [round(100 * each) for each in wanted]
