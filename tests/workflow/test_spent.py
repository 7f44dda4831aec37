"""The critical path of a batch, from when its jobs began and ended."""

import json

import pytest

from workflow.batch import spent
from workflow.batch.grid import Job, Plan
from workflow.batch.spent import Span


def job(name, shards=1, trainings=()):
    return Job(**dict.fromkeys(Job._fields) | {"id": name, "shards": shards, "trainings": trainings})


@pytest.fixture
def plan():
    return Plan({name: job(name, shards) for name, shards in (("a", 1), ("b", 2), ("c", 1))}, {"net": {}})


def note(root, **spans):
    (root / spent.FOLDER).mkdir(exist_ok=True)
    for name, span in spans.items():
        (root / spent.FOLDER / f"{name.replace('_', '-')}.json").write_text(json.dumps(span))


def test_the_path_goes_back_from_the_last_end_and_leaves_out_what_nothing_waited_for(plan, tmp_path):
    note(tmp_path, net=(100, 160), a=(100, 130), b_part0=(161, 170), b_part1=(161, 200), b=(201, 401), c=(402, 432))
    first, second = spent.lines(plan, tmp_path, since=90)
    assert first == "critical path of 5:42: net 1:00, then b-part1 0:39, then b 3:20, then c 0:30"
    assert second == "longest: b, 3:20; c waited for it"


def test_what_an_earlier_batch_did_and_what_is_damaged_do_not_count(plan, tmp_path):
    note(tmp_path, a=(50, 80), b=(101, 102), c=[1])
    assert spent.lines(plan, tmp_path, since=100) == ["critical path of 0:02: b 0:01", "longest: b, 0:01"]
    assert spent.lines(plan, tmp_path, since=200) == []


def test_a_job_that_fails_leaves_no_note(tmp_path):
    with pytest.raises(KeyError), spent.noted(tmp_path, "a"):
        raise KeyError
    assert not (tmp_path / spent.FOLDER).exists()
    with spent.noted(tmp_path, "a"):
        pass
    begin, end = json.loads((tmp_path / spent.FOLDER / "a.json").read_text())
    assert begin <= end and Span(begin, end).text == "0:00"


def test_two_jobs_at_once_are_two_ways_and_the_longer_is_the_path():
    spans = {"short": Span(0, 3), "long": Span(0, 8), "last": Span(8.5, 9)}
    assert spent.chain(spans) == ["long", "last"] and spent.chain({}) == []
