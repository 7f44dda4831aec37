"""Paths, writing whole files, locks, and what stored numbers depend on."""

import os
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
    assert before == files.code_fingerprint()
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
    assert files.code_fingerprint(package) != files.code_fingerprint()


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
