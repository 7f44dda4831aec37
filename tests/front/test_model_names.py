"""NAME of FILE.py:NAME: whatever gives a model, and one sentence on what does not."""

import pytest

from cam_utils import load_model
from tests.front.test_model_files import BLOCK, untouched, write  # noqa: F401

NAMES = """
from functools import partial
from torch import nn
import torch
class Net(nn.Sequential):
    def __init__(self, width=2):
        super().__init__(nn.Conv2d(3, width, 1))
class Models:
    ready = Net()
    inner = Net
    @staticmethod
    def build():
        return Net()
    @classmethod
    def made(cls):
        return Net()
    def method(self):
        return Net()
class Factory:
    def __call__(self):
        return Net()
    def build(self):
        return Net()
def build(width=2, *args, **options):
    return Net(width)
nets = {"a": Net()}
factory, ready, short, part = Factory(), Net(), lambda: Net(), partial(build, 3)
compiled = torch.compile(Net())
def parallel():
    return nn.DataParallel(Net())
_private = Net
"""
GOOD = "Net build ready short part factory factory.build Models.ready Models.inner Models.build Models.made "
GOOD += "compiled parallel _private ready.0 nn.Identity"


@pytest.mark.parametrize("name", GOOD.split())
def test_a_name_may_be_a_module_or_whatever_makes_one(tmp_path, name):
    write(tmp_path, model=NAMES)
    net = load_model(f"{tmp_path}/model.py:{name}").model
    assert type(net).__name__ in ("Net", "Conv2d", "Identity") and not net.training


BAD = """
from torch import nn
import sys
def sized(width): return nn.Linear(width, 2)
class Sized(nn.Module):
    def __init__(self, width): super().__init__()
class Models:
    def method(self): return nn.Linear(2, 2)
def number(): return 3
def pair(): return nn.Linear(2, 2), None
def nothing(): pass
def divides(): return 1 / 0
def wrong(): return nn.Linear(2)
def two_lines(): raise RuntimeError("one\\ntwo")
def leaves(): sys.exit(2)
def endless(): return endless()
value = 3
"""


def test_what_gives_no_model_is_told_in_one_sentence(tmp_path):
    write(tmp_path, model=BAD)
    cases = {
        "biuld": "unknown name in model.py 'biuld'",
        "": "unknown name in model.py ''",
        "Models.biuld": r"unknown name in Models 'biuld'",
        "sized": r"sized\(\) of model.py failed without arguments \(.*'width'\): give",
        "Sized": r"Sized\(\) of model.py failed without arguments \(missing",
        "Models.method": r"Models.method\(\) of model.py failed without arguments \(.*'self'",
        "number": "expected number of model.py to give an nn.Module, got int",
        "pair": "expected pair of model.py to give an nn.Module, got tuple",
        "nothing": "expected nothing of model.py to give an nn.Module, got NoneType",
        "value": "expected value of model.py to give an nn.Module, got int",
        "Models": "expected Models of model.py to give an nn.Module, got Models",
        "divides": r"divides\(\) of model.py failed: ZeroDivisionError: division by zero",
        "wrong": r"wrong\(\) of model.py failed: TypeError: .*missing 1 required positional argument",
        "two_lines": r"two_lines\(\) of model.py failed: RuntimeError: one two",
        "leaves": r"leaves\(\) of model.py failed: SystemExit: 2",
        "endless": r"endless\(\) of model.py failed: RecursionError",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=message) as failure:
            load_model(f"{tmp_path}/model.py:{name}")
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(:\n", "model.py cannot be executed: SyntaxError"),
        ("import nowhere\n", "model.py cannot be executed: ModuleNotFoundError: No module named 'nowhere'"),
        ("from .nowhere import a\n", "model.py cannot be executed: ModuleNotFoundError"),
        ("from ..above import a\n", "model.py cannot be executed: ImportError: attempted relative import beyond"),
        ("from blocks import nothing\n", "model.py cannot be executed: ImportError: cannot import name 'nothing'"),
        ("1 / 0\n", "model.py cannot be executed: ZeroDivisionError: division by zero"),
        ("raise SystemExit\n", "model.py cannot be executed: SystemExit$"),
        ("import argparse\np = argparse.ArgumentParser()\np.add_argument('--a', required=True)\np.parse_args([])\n",
         "model.py cannot be executed: SystemExit: 2"),
        ("a = '\0'\n", "model.py cannot be executed: SyntaxError"),
        ("def __getattr__(name):\n    raise OSError(name)\n", "build of model.py cannot be read: OSError: build"),
    ],
)  # fmt: skip
def test_a_file_that_fails_is_told_in_one_sentence(tmp_path, text, message):
    write(tmp_path, model=text, blocks=BLOCK)
    with pytest.raises(ValueError, match=message) as failure:
        load_model(f"{tmp_path}/model.py:build")
    assert "\n" not in str(failure.value)


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "latin.py").write_bytes("build = 'é'\n".encode("latin-1"))
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ValueError, match=r"latin.py cannot be executed: SyntaxError"):
        load_model(f"{tmp_path}/latin.py:build")
    for name in ("folder.py", "none.py", "none/none.py"):
        with pytest.raises(FileNotFoundError, match=f"no file .*{name} to read the model build from"):
            load_model(f"{tmp_path}/{name}:build")
    with pytest.raises(ValueError, match=r"expected FILE.py:NAME, with the name of your model or function in it"):
        load_model(tmp_path / "latin.py")
