"""The page on rerunning lists every parameter with its default, and what the stored default runs cost."""

import html
import json
import re

import nbformat

from cam_utils.parameters import CHAPTERS
from tests.conftest import ROOT
from workflow.batch import grid
from workflow.site import rerun_page

PAGE = (ROOT / "book" / "rerun.md").read_text()


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


def test_hours_are_counted_from_operations():
    """ResNet-50, 4.089 billion multiply-adds: 2 heads x 2,501 images x 110 epochs x 3 forwards, at 20 TFLOPS."""
    text = rerun_page.hours_part(["resnet50", "squeezenet1_0"], [224])
    by_hand = 2 * 2501 * 110 * 3 * 2 * 4.089e9 / 20e12 / 3600
    assert f"| resnet50 | {by_hand:.1f} | " in text and "| squeezenet1_0 | under 0.1 | " in text


def test_every_parameter_that_a_command_of_the_page_sets_is_accepted():
    commands = [block for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) if " -p " in block]
    assert len(commands) >= 4
    for block in commands:
        known = CHAPTERS[re.search(r"notebooks/(\w+)\.ipynb", block)[1]]
        for name, value in re.findall(r"-p (\S+) (\S+)", block):
            known[name].check(name, known[name].read(value))
    known = CHAPTERS["minmax_cam"]  # which the sentences are on that name these
    for name, value in re.findall(r"`-p (architecture|head|limit) (\S+?)`", PAGE):
        known[name].check(name, known[name].read(value))


def test_the_grid_of_the_page_is_two_trainings_and_a_run(tmp_path):
    (text,) = re.findall(r"```yaml\n# voc2007.yaml\n(.*?)```", PAGE, re.S)
    file = tmp_path / "voc2007.yaml"
    file.write_text(text)
    plan = grid.read(file)
    assert len(plan.trainings) == 2 and len(plan.jobs) == 1
