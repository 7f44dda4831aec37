"""Tables of notebooks have readers' names and aligned numbers on the site; what stands in the file stays."""

import re

import nbformat
import pandas as pd

from cam_utils.evaluation import facts
from cam_utils.methods import registry
from tests.conftest import ROOT
from workflow.site.notebook_tables import make_readable


def shown(*tables):
    """Return the HTML of tables after the change, in one notebook."""
    outputs = [nbformat.v4.new_output("display_data", data={"text/html": table}) for table in tables]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=outputs)])
    make_readable(page)
    return [output["data"]["text/html"] for output in page.cells[0].outputs]


def test_names_are_the_readers_and_numbers_are_aligned():
    table = pd.DataFrame(
        {"energy_in_mask": ["1.0 [0.5, 1.5]", "2.0"], "AD": [1.5, 2.5], "verdict": ["a & b", "< 3"]},
        index=["minmax-cam", "grad-cam++"],
    )
    (found,) = shown(table.to_html())
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", found)
    assert cells[:4] == ["", "energy in mask ↑", "AD ↓", "verdict"]
    assert cells[4:] == [
        "MinMax-CAM", "1.0 [0.5, 1.5]", "1.5", "a &amp; b", "Grad-CAM++", "2.0", "2.5", "&lt; 3",
    ]  # fmt: skip
    assert 'class="dataframe aligned r2 r3"' in found


def test_a_table_of_several_levels_keeps_its_form():
    table = pd.DataFrame({("a", "x"): [1], ("a", "y"): [2]}, index=["cam"])
    (found,) = shown(table.to_html())
    assert 'class="dataframe"' in found and "<th>CAM</th>" in found


def test_no_chapter_shows_a_name_as_it_is_typed():
    typed = {*registry.METHODS, *facts.METRICS}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        page = nbformat.read(path, 4)
        make_readable(page)
        tables = "".join(
            output.get("data", {}).get("text/html", "") for cell in page.cells for output in cell.get("outputs", ())
        )
        cells = {text.strip() for text in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", tables, re.S)}
        assert cells and not cells & typed, path.name
