"""Seals of runs: what others bring may have none, what this program alone writes must have one."""

import json
import time

import pytest

from cam_utils import runs, seals


def test_a_run_without_a_seal_is_taken_but_not_where_this_program_alone_writes(tmp_path, monkeypatch):
    runs.write_run(tmp_path / "runs" / "a", {}, time.time(), chapter="ss_cam")
    file = tmp_path / "runs" / "a" / "run.json"
    file.write_text(json.dumps({"chapter": "ss_cam", "parameters": {}}))  # from before there were seals
    assert [run.id for run in runs.read_runs(tmp_path / "runs")] == ["a"]
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path))
    with pytest.warns(UserWarning, match=r"left out .*run\.json: run\.json is damaged, .*it has no seal; make"):
        assert runs.read_runs(tmp_path / "runs") == []
    runs.seal(file.parent, json.loads(file.read_text()))
    assert [run.id for run in runs.read_runs(tmp_path / "runs")] == ["a"]


@pytest.mark.parametrize("lost", ["seal", "files", "scrambled"])
def test_a_run_that_has_lost_its_seal_or_its_digests_is_no_run_from_before_there_were_seals(tmp_path, lost):
    """Somebody's run, too: a value that was changed with the seal would pass for a measured one."""
    runs.write_run(tmp_path / "a", {"seed": 0}, time.time(), chapter="ss_cam")
    file = tmp_path / "a" / "run.json"
    record = json.loads(file.read_text())
    assert {"seal", "files"} <= set(record)
    told = {name: value for name, value in record.items() if name != lost}
    told |= {"seal": "seazed as qun.json: 0"} if lost == "scrambled" else {}
    file.write_text(json.dumps(told | {"parameters": {"seed": 1}}))
    with pytest.warns(UserWarning, match=r"left out .*run\.json: run\.json is damaged, "):
        assert runs.read_runs(tmp_path) == []


def test_a_seal_tells_every_changed_byte_and_another_file_in_its_place():
    content = seals.filled(f"1 2 3 {seals.blank('part 1')} 4 5".encode())
    seals.check(content, "part 1")
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        with pytest.raises(ValueError, match="is damaged, "):
            seals.check(bytes(changed), "part 1")
    with pytest.raises(ValueError, match="is not what its name says: it is part 1, expected part 2"):
        seals.check(content, "part 2")
    seals.check(b"nothing", "part 1", needed=False)
    with pytest.raises(ValueError, match="it has no seal"):
        seals.check(b"nothing", "part 1")
