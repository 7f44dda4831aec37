"""The page on rerunning lists every parameter with its default, and what the stored default runs cost."""

import html
import json
import re

import nbformat

from cam_utils.parameters import CHAPTERS
from tests.conftest import ROOT
from workflow.site import rerun_page


def test_every_parameter_is_listed_with_the_default_of_its_notebook():
    text = rerun_page.parameters_part(ROOT / "notebooks")
    for chapter, part in zip(CHAPTERS, text.split("\n### ")[1:], strict=True):
        rows = re.findall(r"<tr><td><code>(\w+)</code></td><td>(.*?)</td>", part)
        shown = {name: html.unescape(re.sub("<.*?>", "", cell)) for name, cell in rows}
        cells = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4).cells
        (source,) = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
        given: dict = {}
        exec(source, given)
        assert shown == {name: repr(given[name]) for name in CHAPTERS[chapter]}, chapter


def test_costs_are_the_stored_ones(tmp_path):
    stored = ROOT / "data" / "results"
    text = rerun_page.costs_part(stored)
    seconds = json.loads((stored / "claims.json").read_text())["runs"]["comparison"]["wall_s"]
    assert f"notebooks/comparison` | {seconds:.0f} s" in text and text.count("| {doc}") == len(CHAPTERS)
    assert rerun_page.costs_part(tmp_path).startswith("No default run")
    (tmp_path / "chapter_memory.csv").write_text("chapter,peak_mb\nss_cam,1234\n")
    assert "| {doc}`../notebooks/ss_cam` | not measured | 1.2 GB |" in rerun_page.costs_part(tmp_path)
