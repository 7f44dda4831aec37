"""Paths, writing whole files, locks, and what stored numbers depend on."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cam_utils import files


def copied(tmp_path) -> Path:
    return Path(
        shutil.copytree(files.PACKAGE, tmp_path / "cam_utils", ignore=shutil.ignore_patterns("__pycache__"))
    )


@pytest.mark.parametrize(
    "name",
    [
        "plots.py",
        "runs.py",
        "claims/minmax.py",
        "front/explain.py",
        "evaluation/results.py",
        "evaluation/ranking.py",
    ],
)
def test_a_figure_a_page_or_a_claims_wording_redoes_no_evaluation(tmp_path, name):
    package = copied(tmp_path)
    before = files.code_fingerprint(package)
    assert before == files._code(files.PACKAGE)
    with (package / name).open("a") as file:
        file.write("\n# another word\n")
    assert files.code_fingerprint(package) == before


@pytest.mark.parametrize(
    "name", ["maps.py", "methods/cams.py", "evaluation/metrics.py", "data/sizing.py", "networks/models.py"]
)
def test_what_determines_numbers_is_part_of_the_fingerprint(tmp_path, name):
    package = copied(tmp_path)
    with (package / name).open("a") as file:
        file.write("\n# another number\n")
    assert files.code_fingerprint(package) != files._code(files.PACKAGE)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), files.written(file) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with files.written(file) as one, files.written(file) as two:  # two writers never share a name
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert file.read_text() == "one"  # of the writer that ended last
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_of_the_longest_name_can_be_written(tmp_path):
    file = tmp_path / ("ä" * 125 + ".json")
    with files.written(file) as partial:
        partial.write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


WRITES = re.compile(r"(\w+)\.(?:write_text|write_bytes|to_csv|to_parquet|savefig)\((\w*)")


def test_the_library_writes_no_file_under_its_own_name():
    """Whoever does leaves half a file when it is killed, and two writers take each other's away."""
    found = [
        f"{path.name}: {match[0]}"
        for path in sorted(files.PACKAGE.rglob("*.py"))
        if path.name != "owned.py"  # a marker, of which the name is all
        for match in WRITES.finditer(path.read_text())
        if "partial" not in match.groups() and match[1] != "files"
    ]
    assert found == []


WRITE = """
import sys, time
from cam_utils.files import written
with written(sys.argv[1]) as partial:
    partial.write_text('half')
    print('writing', flush=True)
    time.sleep(60)
"""


def test_what_killed_writers_left_goes_and_what_is_being_written_stays(tmp_path):
    file, other = tmp_path / "a.b.txt", tmp_path / ".notes.partial"
    other.write_text("no file of ours")
    os.utime(other, (1, 1))
    old = tmp_path / f".c.txt.{'0' * 12}.partial"  # of another machine, or of a version before
    old.write_text("half")
    writer = subprocess.Popen([sys.executable, "-c", WRITE, str(file)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"writing\n"
    with files.written(file) as partial:
        partial.write_text("whole")
        files.clear_abandoned(tmp_path.rglob(".*"))
        assert len(list(tmp_path.iterdir())) == 4
        writer.kill()
        writer.communicate()
        os.utime(old, (1, 1))
        files.clear_abandoned(tmp_path.parent.rglob(".*"))
        assert set(tmp_path.iterdir()) == {partial, other}
    assert file.read_text() == "whole"


def test_a_full_disk_is_said_with_the_file_and_what_stood_there_stays(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with (
        pytest.raises(
            OSError, match=r"a\.txt cannot be written, there are \d+ MiB left on the disk: No space"
        ) as told,
        files.written(file) as partial,
    ):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.errno == errno.ENOSPC
    assert file.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(FileNotFoundError, match=r"No such file.*other\.txt"), files.written(file):
        (tmp_path / "other.txt").read_text()  # no fault of the disk


def test_content_and_name_are_on_the_disk_before_and_after_the_file_appears(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(number):
        synced.append(((tmp_path / "a.txt").exists(), os.path.isdir(f"/proc/self/fd/{number}")))
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    with files.written(tmp_path / "a.txt") as partial:
        partial.write_text("all")
    assert synced == [(False, False), (True, True)]


def test_numbers_of_code_that_was_edited_since_the_start_are_nobodys(monkeypatch):
    before = files.code_fingerprint()
    monkeypatch.setattr(files, "_CODE", "what this process runs")
    mixed = files.code_fingerprint()
    assert mixed != before
    monkeypatch.setattr(files, "_CODE", "another text")
    assert files.code_fingerprint() not in (mixed, before)


HOLD = """
import sys, time
from cam_utils.files import lock
with lock(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


def test_a_lock_is_free_again_when_its_holder_is_killed(tmp_path):
    path = tmp_path / "locks" / "a.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    waiting = subprocess.Popen([sys.executable, "-c", HOLD.replace("60", "0"), str(path)], stdout=subprocess.PIPE)
    time.sleep(0.3)
    assert waiting.poll() is None  # it waits
    os.kill(holder.pid, signal.SIGKILL)
    assert waiting.communicate(timeout=30)[0] == b"held\n"
    holder.communicate()


def test_equal_things_have_equal_digests_whatever_their_memory():
    a = torch.arange(6.0).view(2, 3)
    assert files.fingerprint(a) == files.fingerprint(a.T.contiguous().T) != files.fingerprint(a.double())
    assert files.fingerprint({"b": 1, "a": [2]}) == files.fingerprint({"a": [2], "b": 1})


WHERE = """
from cam_utils import files
print(files.cache())
from cam_utils.evaluation import results
results.paper_table('minmax_table1')
"""


def test_an_installation_without_the_repository_says_so_and_caches_for_the_user(tmp_path):
    copied(tmp_path / "site-packages")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CAM_UTILS_")}
    environment |= {"PYTHONPATH": str(tmp_path / "site-packages"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", WHERE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / "home" / "cam_utils")
    assert "FileNotFoundError: no folder" in done.stderr and "set CAM_UTILS_DATA" in done.stderr
