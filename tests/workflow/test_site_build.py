"""Builds of the site: one at a time, replaced as a whole, and never called unchanged when it is not."""

import json
import threading

import pytest

from cam_utils import owned
from tests import tiny_book
from workflow.site import build


def made(out, inputs="a"):
    """Write a site of two pages as a build leaves it, with its mark."""
    (out / "html" / "book").mkdir(parents=True)
    (out / "html" / "index.html").write_text("first")
    (out / "html" / "book" / "page.html").write_text("second")
    (out / build.MARK).write_text(json.dumps({"inputs": inputs, "files": build.published(out / "html")}))


def test_a_site_is_current_only_with_its_inputs_and_all_of_its_files(tmp_path):
    made(tmp_path)
    page = tmp_path / "html" / "book" / "page.html"
    assert build.current(tmp_path, "a") and not build.current(tmp_path, "b")
    (tmp_path / "html" / "single.html").write_text("made of it")
    assert build.current(tmp_path, "a")
    page.write_text("mixed")
    assert not build.current(tmp_path, "a")
    page.unlink()
    assert not build.current(tmp_path, "a")
    page.write_text("second")
    assert build.current(tmp_path, "a")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"inputs": "a"}', '{"inputs": "a", "files": ["index.html"]}']
)
def test_a_damaged_mark_says_nothing(text, tmp_path):
    made(tmp_path)
    (tmp_path / build.MARK).write_text(text)
    assert not build.current(tmp_path, "a")


def test_builds_wait_for_each_other_and_clear_what_killed_ones_left(tmp_path):
    killed = owned.make(tmp_path / "work-0123456789ab")
    (killed / "src").mkdir()
    theirs = tmp_path / "work-of-mine"
    theirs.mkdir()
    inside, order = threading.Event(), []

    def second():
        inside.wait()
        with build.alone(tmp_path):
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with build.alone(tmp_path) as work:
        inside.set()
        assert not killed.exists() and theirs.exists() and not list(work.glob("[!.]*"))
        other.join(0.3)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]
    assert {path.name for path in tmp_path.iterdir()} == {"work-of-mine", ".build.lock"}


def test_a_site_is_built_whole_in_a_place_of_ones_own_and_one_of_somebody_else_stays(tmp_path):
    project, out = tiny_book.write(tmp_path / "project"), tmp_path / "out"
    (out / "html").mkdir(parents=True)
    (out / "html" / "thesis.html").write_text("years of work")
    with pytest.raises(ValueError, match=r"html as a folder that cam_utils made, or none, got one without"):
        tiny_book.site(project, out)
    assert [path.name for path in (out / "html").iterdir()] == ["thesis.html"]
    (out / "html" / ".buildinfo").touch()
    (out / build.OLDER_MARK).touch()  # a site that was built before there were markers
    first = build.published(tiny_book.site(project, out))
    assert "index.html" in first and "thesis.html" not in first
    built = [threading.Thread(target=tiny_book.site, args=(project, out)) for _ in range(2)]
    for each in built:
        each.start()
    for each in built:
        each.join()
    assert build.published(out / "html") == first  # in other folders to work in, byte for byte
    assert {path.name for path in out.iterdir()} == {"html", ".build.lock", build.OLDER_MARK}
