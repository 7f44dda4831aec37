"""Models from a reader's own file: executed as by import, beside its neighbours, and never mixed with another's."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cam_utils import load_model
from cam_utils.front import model_files

REST = "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
BUILD = "from torch import nn\ndef build():\n    return nn.Sequential(block(), " + REST
BLOCK = "from torch import nn\ndef block():\n    return nn.Conv2d(3, 4, 3)\n"


def write(folder: Path, **files: str) -> Path:
    """Write files, whose names have __ for a slash and no suffix."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def runs(spec):
    net = load_model(spec).model
    assert not net.training and net(torch.zeros(2, 3, 8, 8)).shape == (2, 2)
    return net


@pytest.fixture(autouse=True)
def untouched():
    """Whatever a file does, Python finds its modules where it found them before."""
    path, names = list(sys.path), {n: m for n, m in sys.modules.items() if not n.startswith(model_files.PACKAGE)}
    yield
    assert sys.path == path
    after = {n: m for n, m in sys.modules.items() if n in names}
    assert all(after.get(name) is module for name, module in names.items())
    own = [name for name, module in sys.modules.items() if "pytest-" in str(getattr(module, "__file__", None))]
    assert all(name.startswith(model_files.PACKAGE) for name in own)


FORMS = {
    "a neighbour": ({"blocks": BLOCK, "model": f"from blocks import block\n{BUILD}"}, "model"),
    "import as": ({"blocks": BLOCK, "model": f"import blocks as b\nblock = b.block\n{BUILD}"}, "model"),
    "import *": ({"blocks": BLOCK, "model": f"from blocks import *\n{BUILD}"}, "model"),
    "relative, without a package": (
        {"blocks": BLOCK, "model": f"from .blocks import block\n{BUILD}"}, "model"),
    "relative, in a package": (
        {"net__INIT": "", "net__blocks": BLOCK, "net__model": f"from .blocks import block\n{BUILD}"},
        "net/model"),
    "relative, in nested packages": (
        {"a__INIT": "", "a__b__INIT": "", "a__blocks": BLOCK, "a__b__act": "from ..blocks import block\n",
         "a__b__model": f"from .act import block\nfrom .. import blocks\nimport a.b.act\n{BUILD}"},
        "a/b/model"),
    "absolute, in a package": (
        {"net__INIT": "", "net__blocks": BLOCK, "net__model": f"from net.blocks import block\n{BUILD}"},
        "net/model"),
    "a script in a package": (
        {"net__INIT": "", "net__blocks": BLOCK, "net__model": f"from blocks import block\n{BUILD}"},
        "net/model"),
    "a package beside it": (
        {"nets__INIT": "from .blocks import block\n", "nets__blocks": BLOCK,
         "model": f"import nets.blocks\nblock = nets.block\n{BUILD}"}, "model"),
    "a folder beside it": (
        {"nets__blocks": BLOCK, "model": f"from nets.blocks import block\n{BUILD}"}, "model"),
    "a package that imports the model": (
        {"net__INIT": "runs = []\nfrom .model import build\n",
         "net__model": f"import net\nnet.runs.append(1)\nassert len(net.runs) == 1\n{BUILD}{BLOCK}"}, "net/model"),
    "a package itself": (
        {"net__INIT": f"from .blocks import block\n{BUILD}", "net__blocks": BLOCK}, "net/__init__"),
    "a circle": (
        {"blocks": f"import model\n{BLOCK}", "model": f"width = 4\nfrom blocks import block\n{BUILD}"},
        "model"),
    "when it runs": ({"blocks": BLOCK, "model": "from torch import nn\ndef build():\n    from blocks import block\n"
                      f"    return nn.Sequential(block(), {REST}"}, "model"),
    "a computed import": ({"blocks": BLOCK, "model": "import importlib\ndef block():\n"
                           f"    return importlib.import_module('blocks').block()\n{BUILD}"}, "model"),
    "a dataclass": (
        {"model": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
         f"@dataclass\nclass C:\n    size: int = 4\nblock = lambda: nn.Conv2d(3, C().size, 3)\n{BUILD}"}, "model"),
    "the name of a library": ({"timm": f"import timm, torch\nassert timm.__version__\n{BLOCK}{BUILD}"}, "timm"),
    "a neighbour with a name of Python's": (
        {"queue": BLOCK, "statistics": "", "model": f"from queue import block\n{BUILD}"}, "model"),
    "a folder with the name of a library": (
        {"torchvision__notes": "", "model": f"import torchvision\ntorchvision.models\n{BLOCK}{BUILD}"},
        "model"),
    "a name that is no identifier": ({"my-model.v2": f"{BLOCK}{BUILD}"}, "my-model.v2"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_executed_as_by_import(tmp_path, form):
    files, name = FORMS[form]
    write(tmp_path / "project one", **files)
    runs(f"{tmp_path}/project one/{name}.py:build")


def test_files_are_found_from_where_the_reader_is(tmp_path, monkeypatch):
    files, _ = FORMS["a neighbour"]
    write(tmp_path, **files)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    runs("model.py:build")
    runs("./model.py:build")
    runs("~/model.py:build")
    runs(f"{tmp_path.parent}/{tmp_path.name}/../{tmp_path.name}/model.py:build")


PROJECT = """
import utils
from models import Net
import config
def build():
    from helpers import late
    return Net(utils.width(), config.Config().value + late())
"""
NET = """
from torch import nn
from utils import shift
class Net(nn.Module):
    def __init__(self, width, value):
        super().__init__()
        self.layer, self.value = nn.Linear(width, 2), value
    def forward(self, x):
        from later import more
        return self.layer(x) * 0 + self.value + shift() + more()
"""


def test_two_projects_with_neighbours_of_one_name_are_never_mixed(tmp_path):
    nets = []
    for number in (1, 20, 300):
        write(
            tmp_path / str(number),
            model=PROJECT,
            models=NET,
            utils=f"width = lambda: 4\nshift = lambda: {number}\n",
            config=f"from dataclasses import dataclass\n@dataclass\nclass Config:\n    value: int = {number}\n",
            helpers=f"late = lambda: {number}\n",
            later=f"more = lambda: {number}\n",
        )
        nets.append(load_model(f"{tmp_path}/{number}/model.py:build").model)
    assert [int(net(torch.zeros(1, 4))[0, 0]) for net in nets] == [4, 80, 1200]
    assert len({type(net) for net in nets}) == 3
    again = [pickle.loads(pickle.dumps(net)) for net in nets] + copy.deepcopy(nets)
    assert [int(net(torch.zeros(1, 4))[0, 0]) for net in again] == 2 * [4, 80, 1200]


def test_a_module_of_the_reader_keeps_its_name(tmp_path, monkeypatch):
    write(tmp_path / "own", blocks="def block():\n    raise AssertionError\n")
    write(tmp_path / "other", **FORMS["a neighbour"][0])
    monkeypatch.syspath_prepend(tmp_path / "own")
    code = f"""
import blocks
own = blocks
import cam_utils
cam_utils.load_model({str(tmp_path / "other" / "model.py:build")!r})
import blocks
assert blocks is own and own.__file__.endswith("own/blocks.py")
"""
    subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(tmp_path / 'own')!r})\n{code}"], check=True
    )


def test_a_module_that_python_finds_there_anyway_is_shared(tmp_path):
    write(tmp_path, **FORMS["a neighbour"][0])
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import blocks
before = blocks.block
blocks.seen = []
blocks.block = lambda: blocks.seen.append(1) or before()
import cam_utils
cam_utils.load_model({str(tmp_path / "model.py:build")!r})
assert blocks.seen == [1] and sys.path[0] == {str(tmp_path)!r}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_this_books_own_classes_are_the_ones_of_this_process(tmp_path):
    write(tmp_path, model="from cam_utils.networks.models import build as b\nbuild = lambda: b('digits', 3)\n")
    from cam_utils.networks.models import Classifier

    assert isinstance(load_model(f"{tmp_path}/model.py:build").model, Classifier)


def test_a_changed_file_and_a_changed_neighbour_are_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    text = "from torch import nn\nfrom size import n\nbuild = lambda: nn.Sequential(nn.Linear(3, n), nn.ReLU())\n"
    for n in (4, 5, 6):
        write(tmp_path, model=text, size=f"n = {n}\n")
        assert load_model(f"{tmp_path}/model.py:build").model[0].out_features == n
    write(tmp_path, model=text.replace("3, n", "2, n"))
    assert load_model(f"{tmp_path}/model.py:build").model[0].in_features == 2
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_compiled_model_of_a_file_runs(tmp_path):
    """torch.compile looks up what a function calls in its module's own builtins."""
    write(tmp_path, model="from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n"
          "        return sum(a for a in [x.mean((2, 3)), abs(x).amax((2, 3))])\n")  # fmt: skip
    net = load_model(f"{tmp_path}/model.py:Net").model
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(torch.compile(net, backend="eager")(x), net(x))
