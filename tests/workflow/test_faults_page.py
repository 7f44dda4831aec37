"""The page of the fault suite: the counts that are stored, with values that are text."""

import json
import re

import pytest

from tests import poisoned
from workflow.site import faults_page

ROW = dict.fromkeys(faults_page.OUTCOMES, 0)


def part(tmp_path, **changed):
    record = {
        "rows": [ROW | {"area": "kills", "what": "an evaluation", "trials": 5, "survived": 3, "lost": 2}],
        "bad": [{"area": "kills", "what": "an evaluation", "where": "step 3", "outcome": "lost", "words": "gone"}],
        "date": "2026-11-28T03:00:00", "git": "3c2bfa9fcf231f0e", "dirty": True, "wall_s": 90, "seed": 0,
        "versions": {"python": "3.11.7", "torch": None}, "device": "cpu",
    }  # fmt: skip
    (tmp_path / "data" / "results").mkdir(parents=True, exist_ok=True)
    (tmp_path / "data" / "results" / "faults.json").write_text(json.dumps(record | changed))
    return faults_page.faults_part(tmp_path)


def test_the_counts_are_shown_and_bad_ones_stand_out(tmp_path):
    text = part(tmp_path)
    assert "Of **5 trials** 3 survived, 0 refused, 2 lost" in text and "3c2bfa9f with changes" in text
    assert "### Killed at a step" in text and "<td><b>2</b></td>" in text and "<td>3</td>" in text
    assert "### What ended worse than refused" in text and "[step 3]{.value}: [gone]{.value}" in text
    assert "worse than refused" not in part(tmp_path, bad=[])


def test_values_of_the_record_are_text(tmp_path):
    for value in poisoned.VALUES:
        bad = {"area": "kills", "what": value, "where": value, "outcome": "lost", "words": value}
        text = part(tmp_path, rows=[ROW | {"area": "kills", "what": value, "trials": 0}], bad=[bad])
        assert not re.search(r"(?<!\\)<(?!/?(table|thead|tbody|tr|th|td|div)\b)", text), value


def test_an_unknown_area_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected areas of faults\.json among kills, .*, got fires"):
        part(tmp_path, rows=[ROW | {"area": "fires", "what": "x", "trials": 0}])
