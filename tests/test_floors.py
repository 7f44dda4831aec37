"""The floors of the house: a file imports only from its own floor and those below, and light modules stay light."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet

PACKAGE = Path(__file__).resolve().parents[1] / "cam_utils"
GROUND = ("pairs", "maps", "names", "files", "owned", "seals")
FLOORS = (*GROUND, "data", "networks", "representative", "methods", "evaluation", "front", "claims")
# Of notebooks: they may import anything, and floors take them only inside a function.
BESIDE = ("runs", "plots", "charts", "parameters", "parameter_kinds", "parameter_rules")
HEIGHT = {name: max(0, i - len(GROUND) + 1) for i, name in enumerate(FLOORS)}


def imported(tree: ast.AST) -> list[tuple[str, int]]:
    """Return (module, column) of every import of this package in a file: column 0 stands at the top."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cam_utils":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            found += [(name, node.col_offset) for name in names]
        elif isinstance(node, ast.Import):
            found += [
                (a.name.split(".")[1], node.col_offset) for a in node.names if a.name.startswith("cam_utils.")
            ]
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in GROUND)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_imports_upwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name, column in imported(ast.parse(path.read_text())):
        if name in BESIDE and (column or own == "claims"):  # a claim is judged on runs
            continue
        assert name in HEIGHT, f"{path.name} imports cam_utils.{name}, which is on no floor"
        assert HEIGHT[name] <= HEIGHT[own], f"{path.name} imports cam_utils.{name} from a floor above"


def test_the_reader_of_imports_sees_what_it_should():
    text = "from cam_utils import maps, plots\nfrom cam_utils.front.explain import explain\n"
    text += "def f():\n    import cam_utils.runs"
    assert imported(ast.parse(text)) == [("maps", 0), ("plots", 0), ("front", 0), ("runs", 4)]


def test_hooks_and_figures_live_in_one_file_each():
    hooks = [p.name for p in PACKAGE.rglob("*.py") if "register_forward_hook" in p.read_text()]
    drawing = [
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(
            n.split(".")[0] in ("matplotlib", "seaborn")
            for n in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
        )
    ]
    assert hooks == ["capture.py"] and set(drawing) == {"plots.py", "charts.py"}


HEAVY = ("torch", "lightning", "sklearn", "pycocotools", "matplotlib", "seaborn", "captum", "pytorch_grad_cam")


# In this order in one process: a line answers for what none before it has brought along.
LINES = {
    "from cam_utils import files, names": (),
    "from cam_utils import parameters; parameters.CHAPTERS['sanity_checks']['methods'].check('methods', 'cam')": (),
    "from cam_utils.evaluation import bootstrap": (),
    "from cam_utils.evaluation import results": (),
    "from cam_utils import data": ("torch",),
    "from cam_utils import load_model": ("torch",),
    "from cam_utils import explain": ("torch",),
    "from cam_utils import evaluate": ("torch",),
    "from cam_utils.methods import ablation, other_libraries, relevance": ("torch",),
}


@pytest.fixture(scope="module")
def brought():
    """{line: the heavy libraries that a fresh interpreter had not loaded before it}."""
    code = "import json, sys\nseen, found = set(), {}\n"
    for line in LINES:
        code += f"{line}\nnew = set(sys.modules) & set({HEAVY}) - seen\n"
        code += f"found[{line!r}], seen = sorted(new), seen | new\n"
    code += "print(json.dumps(found))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", LINES)
def test_an_import_brings_along_what_it_needs_and_no_more(brought, line):
    assert set(brought[line]) <= set(LINES[line])


def pins():
    """Yield (name, version, marker) of every line of the lock that pins a package."""
    for line in (PACKAGE.parent / "requirements.lock").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==([^ ;\\]+)(?: ; ([^\\]+))?", line):
            yield match[1], match[2], Marker(match[3].strip()) if match[3] else None


def test_the_lock_installs_under_every_python_that_the_project_names():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    allowed = [
        python for python in ("3.11.0", "3.12.0", "3.13.0") if python in SpecifierSet(project["requires-python"])
    ]
    assert allowed[0] == "3.11.0"
    seen, refused = set(), []
    for name, pinned, marker in pins():
        for python in allowed:
            where = {"python_full_version": python, "python_version": python.rsplit(".", 1)[0]}
            if marker is None or marker.evaluate(where):
                assert (name, python) not in seen, f"{name} is pinned twice for Python {python}"
                seen.add((name, python))
                with suppress(PackageNotFoundError):  # of another platform
                    known = metadata(name)
                    needed = SpecifierSet(known["Requires-Python"] or "")
                    refused += [(name, python)] if known["Version"] == pinned and python not in needed else []
    assert len(seen) > 500 and refused == []
