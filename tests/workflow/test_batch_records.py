"""What a batch may write, remove and believe: names from grids, folders of others, damaged records, links."""

import json
import os
import re

import pytest
import yaml

from cam_utils import owned
from tests.workflow.tiny import write
from workflow.batch import __main__, execute, grid, records

KEY = "0123456789abcdef"


def block(folder, **changes):
    """Write a grid of one block of the tiny chapter with these changes, and return its file."""
    file = write(folder, [1])
    content = yaml.safe_load(file.read_text())
    content["runs"][0] |= changes
    file.write_text(yaml.safe_dump({"runs": [{k: v for k, v in content["runs"][0].items() if v is not None}]}))
    return file


def tree(folder):
    """Return all that is in a folder: {path: content}."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize(
    "name", ["..", ".", "logs", "Logs", ".finished", ".work", "a/b", "../x", "/tmp", "-x", "x" * 300]
)
@pytest.mark.parametrize("over", [None, {"x": [1]}], ids=["alone", "over"])
def test_a_chapter_that_is_no_name_is_refused_before_anything_is_touched(name, over, tmp_path):
    file = block(tmp_path, chapter=name, over=over, parameters=None)
    (tmp_path / "runs" / "good").mkdir(parents=True)
    (tmp_path / "runs" / "good" / "run.json").write_text("{}")
    before = tree(tmp_path)
    with pytest.raises(SystemExit, match=r"batch: grid.yaml, block 1 of its runs: expected chapter as a name"):
        __main__.main([str(file), "--runs", str(tmp_path / "runs"), "--no-book"])
    assert tree(tmp_path) == before


def test_a_profile_is_a_name(tmp_path):
    with pytest.raises(SystemExit, match="batch: expected profile as a name"):
        __main__.main(
            [str(write(tmp_path, [1])), "--profile", "../profiles/local", "--runs", str(tmp_path / "runs")]
        )


def test_values_become_parts_of_a_name_that_is_one(tmp_path):
    file = block(tmp_path, over={"dataset": ["../../x", "a b'c", "~", "."]}, parameters=None)
    assert list(grid.read(file).jobs) == ["tiny-.._.._x", "tiny-a_b_c", "tiny-_", "tiny-."]
    with pytest.raises(ValueError, match="expected a run's name as a name of up to 200 bytes"):
        grid.read(block(tmp_path, over={"dataset": ["x" * 300]}, parameters=None))


@pytest.mark.parametrize("other", ["tiny.lock", "tiny-part1", "TINY"])
def test_runs_that_would_write_one_file_are_refused(other, tmp_path):
    file = block(tmp_path, over=None, parameters=None)
    (tiny,) = yaml.safe_load(file.read_text())["runs"]
    plan = grid.read(file)
    jobs = {"tiny": plan.jobs["tiny"]._replace(shards=2), other: plan.jobs["tiny"]._replace(id=other)}
    with pytest.raises(ValueError, match=rf"has tiny and {other}, which would both write files named"):
        grid._check_files(plan._replace(jobs=jobs), "grid.yaml")
    if other != "tiny-part1":
        file.write_text(yaml.safe_dump({"runs": [tiny, tiny | {"chapter": other}]}))
        with pytest.raises(ValueError, match=rf"has tiny and {other}, which would both write files named"):
            grid.read(file)


def test_a_training_whose_name_is_none_is_refused():
    spec = {"dataset": "../../digits", "network": "digits", "head": "linear", "seed": 0}
    with pytest.raises(ValueError, match="expected a training's name as a name"):
        grid.name_of(spec)


@pytest.mark.parametrize("name", ["..", "logs", "a/b"])
def test_a_job_of_no_name_touches_nothing(name, tmp_path):
    job = grid.read(write(tmp_path, [1])).jobs["tiny-1"]._replace(id=name)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="expected a run's name as a name"):
        execute.execute(tmp_path / "runs", job, KEY)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("place", ["tiny-1", ".work/tiny-1"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_of_somebody_else_in_a_runs_place_stays(place, linked, tmp_path):
    job = grid.read(write(tmp_path, [1])).jobs["tiny-1"]
    theirs = (tmp_path / "theirs") if linked else tmp_path / "runs" / place
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("years of work")
    (theirs / "run.json").write_text("{}")
    if linked:
        (tmp_path / "runs" / place).parent.mkdir(parents=True)
        (tmp_path / "runs" / place).symlink_to(theirs)
    before = tree(theirs)
    with pytest.raises(ValueError, match=rf"expected {tmp_path / 'runs' / place} as a folder that cam_utils made"):
        execute.execute(tmp_path / "runs", job, job.key())
    assert tree(theirs) == before and (tmp_path / "runs" / place).exists()


def prepared(folder, runs):
    """Return a plan of the tiny chapter, its keys, and the lines that `prepare` prints."""
    plan = grid.read(write(folder, [1]))
    records.prepare(plan, runs, {}, dict.fromkeys(plan.jobs, KEY))
    return plan


def finished(runs):
    """Write what a finished run of the tiny chapter leaves."""
    owned.make(runs / "tiny-1")
    (runs / "tiny-1" / "run.json").write_text("{}")
    (runs / "tiny-1" / "key").write_text(KEY)
    (runs / ".finished").mkdir(parents=True)
    (runs / ".finished" / "tiny-1").write_text(KEY)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\0" * 16, KEY.upper().encode(), None], ids=repr)
def test_a_damaged_key_is_named_and_its_run_made_again(content, tmp_path, capsys):
    runs = tmp_path / "runs"
    finished(runs)
    key = runs / "tiny-1" / "key"
    key.unlink()
    key.mkdir() if content is None else key.write_bytes(content)
    plan = prepared(tmp_path, runs)
    assert (
        f"batch: {key} is damaged: it holds no key of a run; it is set aside as key.damaged"
        in capsys.readouterr().out
    )
    assert not plan.jobs["tiny-1"].finished(runs, KEY) and not (runs / ".finished" / "tiny-1").exists()
    assert (runs / "tiny-1" / "run.json.old").is_file() and not (runs / "tiny-1" / "run.json").exists()
    owned.check(runs / "tiny-1")  # the new run may take its place


def test_a_mark_that_is_no_file_and_a_folder_that_is_none_are_set_aside(tmp_path, capsys):
    runs = tmp_path / "runs"
    finished(runs)
    (runs / ".finished" / "tiny-1").unlink()
    (runs / ".finished" / "tiny-1" / "below").mkdir(parents=True)
    for name in (".failed", ".trained", ".work", "logs"):
        (runs / name).write_text("no folder")
    plan = prepared(tmp_path, runs)
    assert plan.jobs["tiny-1"].finished(runs, KEY)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(
        re.fullmatch(r"batch: .* is damaged: .*, and made again", line) for line in lines
    )
    assert (runs / ".finished" / "tiny-1.damaged" / "below").is_dir()
    assert {p.name for p in runs.glob("*.damaged")} == {
        f"{n}.damaged" for n in (".failed", ".trained", ".work", "logs")
    }


MARKS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"checkpoint": 3}',
    b'{"checkpoint": "../../x"}',
    b"{}",
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", [*MARKS, None], ids=lambda c: repr(c)[:20])
def test_a_damaged_mark_of_a_training_is_named_and_set_aside(content, tmp_path, capsys):
    spec = {"dataset": "digits", "network": "digits", "head": "linear", "seed": 0}
    mark = tmp_path / ".trained" / "one.json"
    for _ in range(2):  # a second one does not overwrite the first
        mark.parent.mkdir(exist_ok=True)
        mark.mkdir() if content is None else mark.write_bytes(content)
        records.prepare(grid.Plan({}, {"one": spec}), tmp_path, {}, {})
        assert (
            f"batch: {mark} is damaged: it names no checkpoint; it is set aside as one.json.dam"
            in capsys.readouterr().out
        )
    assert len(list(mark.parent.glob("one.json.damaged*"))) == 2 and not mark.exists()


def test_a_mark_whose_checkpoint_is_there_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path / "cache"))
    mark = tmp_path / ".trained" / "one.json"
    for file, text in (
        (mark, json.dumps({"checkpoint": "a-0.pt"})),
        (tmp_path / "cache" / "checkpoints" / "a-0.pt", "x"),
    ):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    for exists in (True, False):
        records.prepare(grid.Plan({}, {"one": {}}), tmp_path, {}, {})
        assert mark.exists() == exists
        (tmp_path / "cache" / "checkpoints" / "a-0.pt").unlink(missing_ok=True)


def test_a_start_clears_what_killed_ones_left_and_no_more(tmp_path):
    runs = tmp_path / "runs"
    finished(runs)
    left = [runs / ".probe.0123456789ab.partial", runs / ".finished" / ".tiny-1.0123456789ab.partial"]
    kept = [runs / "notes.txt", runs / "tiny-1" / "run.json", runs / ".failed" / "mine.csv"]
    (runs / ".failed").mkdir()
    for file in (*left, *kept, runs / ".failed" / "tiny-1.txt"):
        file.write_text("x")
    rest = owned.make(runs / ".tiny-2.0123456789ab.removed")
    prepared(tmp_path, runs)
    assert not any(p.exists() for p in (*left, rest, runs / ".failed" / "tiny-1.txt"))
    assert all(p.exists() for p in kept)


def test_a_failure_that_is_no_text_is_no_obstacle(tmp_path):
    plan = grid.read(write(tmp_path, [1, 2]))
    (tmp_path / ".failed" / "tiny-1.txt").mkdir(parents=True)
    (tmp_path / ".failed" / "tiny-2.txt").write_bytes(b"tiny-2: \xff")
    lines = __main__.summary(plan, tmp_path, {}, dict.fromkeys(plan.jobs, KEY))
    assert lines[1:] == ["failed: tiny-2: \ufffd", f"failed: tiny-1: it left no reason, see {tmp_path / 'logs'}"]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_the_lock_of_a_batch_is_a_file_and_no_link_is_followed(kind, tmp_path):
    precious, file = tmp_path / "precious.txt", tmp_path / "runs" / ".batch.lock"
    precious.write_text("kept")
    file.parent.mkdir()
    file.symlink_to(precious) if kind == "link" else file.mkdir()
    with pytest.raises(SystemExit, match=rf"batch: expected {file} as the file of the batch's lock: "):
        __main__.main([str(write(tmp_path, [1])), "--runs", str(tmp_path / "runs"), "--no-book"])
    assert precious.read_text() == "kept"


def test_nothing_in_a_folder_of_runs_is_written_through_a_link(tmp_path):
    precious, runs = tmp_path / "precious.txt", tmp_path / "runs"
    precious.write_text("kept")
    for name in (".probe", ".failed/tiny-1.txt", ".work/tiny-1/key"):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).symlink_to(precious)
    owned.mark(runs / ".work" / "tiny-1")
    assert __main__.full(runs) is None
    with pytest.raises(SystemExit, match="tiny-1: ValueError: told to"), execute.reported(runs, "tiny-1"):
        raise ValueError("told to")
    execute.begin(runs / ".work" / "tiny-1", KEY)
    assert precious.read_text() == "kept" and (runs / ".work" / "tiny-1" / "key").read_text() == KEY
    assert (runs / ".failed" / "tiny-1.txt").read_text() == "tiny-1: ValueError: told to"


def test_the_locks_of_gpus_follow_no_link_and_any_name_of_a_gpu_has_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CAM_UTILS_GPUS", "../../0,MIG-GPU-1/2/3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # restored at the end
    del os.environ["CUDA_VISIBLE_DEVICES"]
    with execute.device(2):
        (folder,) = (tmp_path / "cache").rglob("locks")
        files = sorted(folder.iterdir())
    assert len(files) == 2 and {file.parent for file in tmp_path.rglob("*.lock")} == {folder}
    assert folder.stat().st_mode & 0o777 == 0o700
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    for file in files:
        file.unlink()
        file.symlink_to(precious)
    del os.environ["CUDA_VISIBLE_DEVICES"]
    with pytest.raises(OSError, match=re.escape(files[0].name[:4])), execute.device(1):
        raise AssertionError("a link was taken for a lock")
    assert precious.read_text() == "kept"
