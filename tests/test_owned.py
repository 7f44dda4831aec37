"""Names of files, folders that may be removed, and folders for one user or process alone."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cam_utils import owned

NAMES = ["a", "_", "0", "ss_cam", "minmax_cam-voc2007-lr0.1", "a..b", "ü", "x" * 200]
NONE = [
    "", ".", "..", "../x", "a/b", "/", "a\\b", ".x", "-x", "+x", "a b", "a\n", "\n", "a\0", "~", "*", "x" * 201,
    "é" * 101, "\udc80", None, 3, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_positive_list_is_returned(name):
    assert owned.named("chapter", name, taken=("logs",)) == name


@pytest.mark.parametrize("name", NONE, ids=repr)
def test_every_other_name_is_refused(name):
    with pytest.raises(ValueError, match=r"expected chapter as a name of up to 200 bytes"):
        owned.named("chapter", name)


@pytest.mark.parametrize("name", ["logs", "LOGS", "Logs"])
def test_a_name_that_is_taken_is_refused_in_capitals_too(name):
    with pytest.raises(ValueError, match="expected chapter as a name that is not logs"):
        owned.named("chapter", name, taken=("logs",))


def tree(folder):
    """Return all that is in a folder: {path: content}."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def full(folder):
    """Write a folder with somebody's work in it."""
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "thesis.txt").write_text("years of work")
    return folder


def links_to(place):
    place.symlink_to(full(place.with_name("elsewhere")))


def with_a_key_of_no_run(place):
    (full(place) / "key").write_text("secret")


def with_a_marker_that_is_a_link(place):
    (full(place) / owned.MARKER).symlink_to(place / "below" / "thesis.txt")


KINDS = {
    "a folder": full,
    "a link": links_to,
    "a broken link": lambda place: place.symlink_to("nowhere"),
    "a file": lambda place: place.write_text("years of work"),
    "a key of no run": with_a_key_of_no_run,
    "a linked marker": with_a_marker_that_is_a_link,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_this_program_did_not_make_is_neither_removed_nor_replaced_nor_used(kind, tmp_path):
    place, new = tmp_path / "home" / "place", owned.make(tmp_path / "new")
    place.parent.mkdir()
    KINDS[kind](place)
    before = tree(tmp_path)
    for action in (owned.check, owned.remove, owned.make, lambda p: owned.replace(new, p)):
        with pytest.raises(
            ValueError, match=rf"expected {place} as a folder that cam_utils made, or none, got .*move"
        ):
            action(place)
        owned.sweep(place.parent)
        assert tree(tmp_path) == before and place.is_symlink() == ("link" in kind and "marker" not in kind)


def test_what_it_made_is_removed_and_links_in_it_lead_nowhere(tmp_path):
    folder, other = owned.make(tmp_path / "a" / "b"), full(tmp_path / "other")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "link").symlink_to(other)
    (folder / "deep" / "link").symlink_to(other)
    owned.remove(folder)
    owned.remove(folder)  # none is no error
    assert tree(tmp_path).keys() == {"a", "other", "other/below", "other/below/thesis.txt"}


def test_a_run_made_before_there_were_markers_is_ours_by_its_key(tmp_path):
    (full(tmp_path / "run") / "key").write_text("0123456789abcdef")
    other = tmp_path / "precious.txt"
    other.write_text("kept")
    owned.replace(owned.make(tmp_path / "new"), tmp_path / "run")
    assert tree(tmp_path).keys() == {"run", f"run/{owned.MARKER}", "precious.txt"}


def test_marking_a_folder_writes_through_no_link(tmp_path):
    (full(tmp_path / "run") / "key").write_text("0123456789abcdef")
    other = tmp_path / "precious.txt"
    other.write_text("kept")
    (tmp_path / "run" / owned.MARKER).symlink_to(other)
    owned.remove(tmp_path / "run")
    assert tree(tmp_path) == {"precious.txt": b"kept"}


def test_a_removal_that_was_killed_is_ended_by_the_next_sweep(tmp_path, monkeypatch):
    folder = full(owned.make(tmp_path / "run"))

    def killed(_):
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(owned, "_empty", killed)
        owned.remove(folder)
    (rest,) = tmp_path.iterdir()  # the name is free, and what is left is known
    (rest / owned.MARKER).rename(tmp_path / "marker")
    owned.sweep(tmp_path)
    assert rest.exists()
    (tmp_path / "marker").rename(rest / owned.MARKER)
    owned.sweep(tmp_path, "other")
    assert rest.exists()
    owned.sweep(tmp_path, "run")
    assert not list(tmp_path.iterdir())


def test_a_sweep_takes_unfinished_files_and_nothing_that_only_looks_like_them(tmp_path):
    left = [tmp_path / f".{name}.0123456789ab.partial" for name in ("a.csv", "b[1]", "c.012345-17")]
    kept = [
        tmp_path / name for name in ("a.partial", ".a.partial", ".a.0123456789AB.partial", "x.removed", ".a.csv")
    ]
    for file in (*left, *kept):
        file.write_text("x")
    (tmp_path / ".link.0123456789ab.partial").symlink_to(kept[0])
    owned.sweep(tmp_path, "b[1]")
    assert [file.exists() for file in left] == [True, False, True]
    owned.sweep(tmp_path)
    assert not any(file.exists() for file in left) and all(file.exists() for file in kept)
    assert (tmp_path / ".link.0123456789ab.partial").is_symlink()


def test_a_sweep_takes_what_a_killed_writer_left(tmp_path):
    code = "import os, sys\nfrom cam_utils.files import written\n"
    code += "with written(sys.argv[1]) as file:\n    file.write_text('half')\n    os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.csv")])
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half"
    owned.sweep(tmp_path, "a.csv")
    assert not list(tmp_path.iterdir())


def test_a_private_folder_is_of_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "cam_utils" / "locks").mkdir(parents=True)
    (tmp_path / "cache" / "cam_utils").chmod(0o777)
    (tmp_path / "cache" / "cam_utils" / "locks").chmod(0o777)
    folder = owned.private("locks")
    assert folder == tmp_path / "cache" / "cam_utils" / "locks"
    assert folder.stat().st_mode & 0o777 == 0o700 and not folder.parent.stat().st_mode & 0o022
    for name in ("..", "a/b"):
        with pytest.raises(ValueError, match="expected a folder as a name"):
            owned.private(name)
    for swapped in (folder, folder.parent):
        swapped.rename(swapped.with_name("aside"))
        swapped.symlink_to(swapped.with_name("aside"))
        with pytest.raises(PermissionError, match=r"locks as a folder of this user alone; XDG_CACHE_HOME"):
            owned.private("locks")
        swapped.unlink()
    owned.private("locks")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PermissionError, match="of this user alone"):
        owned.private("locks")


HOLDER = """
import sys, tempfile, time
from cam_utils import owned
with owned.scratch() as folder:
    open(tempfile.mkdtemp() + "/file", "w").close()
    print(folder, flush=True)
    time.sleep(600)
"""


def test_temporary_folders_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "cam_utils-of-mine").mkdir()  # not marked
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    killed, living = (Path(holder.stdout.readline().strip()) for holder in holders)
    holders[0].send_signal(signal.SIGKILL)
    holders[0].wait()
    assert killed.is_dir()  # as it was left
    with owned.scratch() as own:
        assert not killed.exists() and living.is_dir() and len(list(living.rglob("file"))) == 1
        assert Path(tempfile.mkdtemp()).parent == own and own.stat().st_mode & 0o777 == 0o700
    assert tempfile.gettempdir() == str(tmp_path) and not own.exists()
    holders[1].kill()
    holders[1].communicate()
    with owned.scratch():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["cam_utils-of-mine"]
    holders[0].stdout.close()
