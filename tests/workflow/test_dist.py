"""The version is the same wherever it is written; the built package works where the project is not."""

import datetime
import re
import tarfile
import tomllib
import zipfile

import yaml

from tests.conftest import ROOT
from workflow import dist
from workflow.site.citation_page import citation_part

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_version_is_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    number, day = re.search(r"^## (\S+), (.*)$", changes, re.M).groups()
    assert cited["version"] == number == VERSION
    assert cited["date-released"] == datetime.datetime.strptime(day, "%d %B %Y").date()
    entry = citation_part(ROOT / "CITATION.cff")
    assert f"year    = {{{cited['date-released'].year}}}" in entry and f"version = {{{VERSION}}}" in entry


def test_the_package_is_built_and_works_without_the_project(tmp_path):
    sdist, wheel = dist.build(tmp_path)
    with tarfile.open(sdist) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "cam_utils/front/explain.py"} <= inside
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "cam_utils").rglob("*.py")}
    assert len(modules & names) > 100 and not any(name.startswith(("tests/", "data/")) for name in names)
    assert dist.smoke(wheel) == f"cam_utils {VERSION} explains 3 pairs"
