"""The sentences of MinMax-CAM's measured choices on its page of deviations, and the table that they are made of."""

import re

import pandas as pd
import pytest

from cam_utils.evaluation.results import PAPER_METHODS
from workflow.studies import ablation_page
from workflow.studies.ablation_choices import CHOICES

SIGNED = r"([+-]\d+\.\d) \[([+-]\d+\.\d), ([+-]\d+\.\d)\]"
SYMBOLS = {
    "%AD": "average_drop",
    "%ADO": "average_drop_others",
    "%ARO": "average_retention_others",
    "energy in others": "energy_in_others",
}


def rows(name, ours, other, moved, metric="average_drop_others", seeds=1):
    """Return the three rows of a choice about one metric, each (value, low, high) in percent."""
    same = {"id": "dev-fitting", "alternative": name, "dataset": "voc2012", "method": "minmax-cam minus cam"}
    told = [("ours", ours), (name, other), (f"{name} minus ours", moved)]
    return [
        same | {"choice": choice, "metric": metric, "seeds": seeds}
        | dict(zip(("value", "low", "high"), (v / 100 for v in values), strict=True))
        for choice, values in told
    ]  # fmt: skip


def test_a_sentence_by_hand():
    table = pd.DataFrame(
        rows("cropped", (10, 5, 15), (12, 6, 18), (2, -1, 5))
        + rows("cropped", (1, 1, 1), (4, 3, 5), (3, 1, 5), "average_drop")
        + rows("squeezed", (10, 5, 15), (10, 5, 15), (0, 0, 0))
    )
    assert ablation_page.sentence(table, "dev-fitting") == (
        "%ADO of MinMax-CAM minus CAM +10.0 [+5.0, +15.0] ours, +12.0 [+6.0, +18.0] cropped (changes: %AD +3.0), "
        "+10.0 [+5.0, +15.0] squeezed (the same)"
    )
    three = pd.DataFrame(rows("cropped", (10, 5, 15), (12, 6, 18), (2, -1, 5), seeds=3))
    assert ablation_page.sentence(three, "dev-fitting") == (
        "three seeds: %ADO of MinMax-CAM minus CAM +10.0 [+5.0, +15.0] ours, +12.0 [+6.0, +18.0] cropped "
        "(no change beyond the interval)"
    )


def test_the_last_cell_of_a_row_is_written_and_no_other():
    table = pd.DataFrame(rows("cropped", (10, 5, 15), (12, 6, 18), (2, -1, 5)))
    rest = "| [b]{#dev-dropout} | x | not yet measured |\n"
    page = f"text on dev-fitting\n| [a]{{#dev-fitting}} | x | not yet measured; why |\n{rest}"
    written = ablation_page.filled(page, table)
    assert written.split("\n")[1] == f"| [a]{{#dev-fitting}} | x | {ablation_page.sentence(table, 'dev-fitting')} |"
    assert written.replace(written.split("\n")[1], "") == page.replace(page.split("\n")[1], "")
    assert ablation_page.filled(written, table) == written
    with pytest.raises(ValueError, match="expected a row of deviations for each of dev-fitting"):
        ablation_page.filled("| [b]{#dev-dropout} | x |", table)


def cells():
    """Return the last cell of every row of the page."""
    lines = [line for line in ablation_page.PAGE.read_text().splitlines() if line.startswith("| [")]
    return {ablation_page.ROW.search(line)[1]: line.rstrip(" |").rsplit(" | ", 1)[1] for line in lines}


def test_every_number_of_the_page_is_in_the_table():
    table, page = pd.read_csv(ablation_page.TABLE), cells()
    methods = {shown: name for name, shown in PAPER_METHODS.items()}
    seen = 0
    for row in table["id"].unique():
        assert "minus CAM" in page[row], row
        for text in page[row].split("; "):
            dataset = "digits" if text.startswith("digits: ") else "voc2012"
            method = f"{methods[re.search(r'%ADO of (.*) minus CAM', text)[1]]} minus cam"
            of_row = table[(table["id"] == row) & (table["dataset"] == dataset) & (table["method"] == method)]
            names = list(of_row["alternative"].unique())
            leads = of_row[of_row["metric"] == "average_drop_others"].set_index(["alternative", "choice"])
            found = re.findall(SIGNED, text)
            for printed, key in zip(found, [(names[0], "ours"), *((n, n) for n in names)], strict=True):
                expected = 100 * leads.loc[key, ["value", "low", "high"]].astype(float)
                assert [float(part) for part in printed] == pytest.approx(expected.tolist(), abs=0.0501), (row, key)
                seen += 1
            notes = re.findall(r"\((changes: [^)]*|no change beyond the interval|the same)\)", text)
            for note, name in zip(notes, names, strict=True):
                change = of_row[of_row["choice"] == f"{name} minus ours"].set_index("metric")
                moved = dict(re.findall(r"([%\w][%\w ]*?) ([+-]\d+\.\d)", note.removeprefix("changes: ")))
                beyond = change[(change["low"] > 0) | (change["high"] < 0)]
                assert {SYMBOLS[each] for each in moved} == set(beyond.index), (row, name)
                for each, value in moved.items():
                    assert float(value) == pytest.approx(100 * change.loc[SYMBOLS[each], "value"], abs=0.0501)
                assert (note == "the same") == (change[["low", "high"]] == 0).all(axis=None), (row, name)
    assert seen > 30


def test_the_page_is_what_the_table_makes_of_it():
    page, table = ablation_page.PAGE.read_text(), pd.read_csv(ablation_page.TABLE)
    assert ablation_page.filled(page, table) == page


def test_every_choice_is_measured_with_its_whole_interval():
    table = pd.read_csv(ablation_page.TABLE)
    measured = set(table[["id", "alternative", "dataset"]].itertuples(index=False, name=None))
    assert measured == {choice.key for choice in CHOICES}
    assert (table["low"] <= table["high"]).all() and (table["n_images"] >= 10).all()
    metrics = {"average_drop", "average_drop_others", "average_retention_others", "energy_in_others"}
    assert set(table["metric"]) == metrics
    assert (table.groupby(["id", "dataset"])["seeds"].nunique() == 1).all()


def test_what_is_not_measured_says_why():
    left = [cell for cell in cells().values() if cell.startswith("not yet measured")]
    assert len(left) <= 5
    assert all(cell.startswith("not yet measured: needs ") for cell in left)
