"""Rows kept in parts: what determines them names their folder, and what is read is what was written.

Kills and shards: test_evaluate.py.
"""

import multiprocessing
import shutil
import warnings

import pandas as pd
import pytest

from cam_utils import data, files
from cam_utils.evaluation import store


def counted(folder, *, dataset=None, plan=None, batch_size=3):
    def measure(batch):
        return pd.DataFrame({"image_index": range(len(batch.ids)), "image": batch.ids})

    dataset = data.load("digits", "val", n=5) if dataset is None else dataset
    rows = store.measured(dataset, measure, plan or {}, folder=folder, batch_size=batch_size, progress=False)
    assert rows["image_index"].tolist() == [0, 1, 2, 3, 4] and rows["image"].tolist() == dataset.ids
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "other", ["dataset", "plan", "batch size, though the parts are as many", "code"], ids=lambda other: other[:10]
)
def test_another_question_is_kept_in_another_folder(tmp_path, monkeypatch, other):
    first = counted(tmp_path)
    assert len(first) == 1 and counted(tmp_path) == first
    if other == "dataset":
        both = counted(tmp_path, dataset=data.load("digits", "train", n=5))
    elif other == "plan":
        both = counted(tmp_path, plan={"threshold": 0.4})
    elif other == "code":
        monkeypatch.setattr(store, "code_fingerprint", lambda: "of another day")
        both = counted(tmp_path)
    else:
        both = counted(tmp_path, batch_size=4)
    assert len(both) == 2 and both > first


PLAN = {"dataset": "a"}


def rows(number):
    return pd.DataFrame({"image_index": range(2 * number, 2 * number + 2), "value": [number + 0.5, number + 0.25]})


def filled(folder, parts=4):
    """A store whose parts are all there, and not yet a table."""
    made = store.Store(folder, PLAN, parts)
    for number in range(parts):
        made.write(number, rows(number))
    return made


WHOLE = pd.concat([rows(number) for number in range(4)], ignore_index=True)


def fewer(file):
    pd.read_parquet(file).iloc[1:].to_parquet(file)


def doubled(file):
    pd.concat([pd.read_parquet(file)] * 2).to_parquet(file)


def another_value(file):
    pd.read_parquet(file).assign(value=0.0).to_parquet(file)


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def cut(file):
    file.write_bytes(file.read_bytes()[:-9])


def emptied(file):
    file.write_bytes(b"")


def of_its_neighbour(file):
    shutil.copy(file.with_name("000001.parquet"), file)


DAMAGE = [fewer, doubled, another_value, flipped, cut, emptied, of_its_neighbour]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_is_named_set_aside_and_made_again(tmp_path, damage):
    first = filled(tmp_path)
    file = first._part(2)
    damage(file)
    again = store.Store(tmp_path, PLAN, 4)
    with pytest.warns(UserWarning, match=r"000002\.parquet .*set aside as damaged/000002.*made again"):
        assert again.missing() == [2]
    assert len(list((first.folder / "damaged").iterdir())) == 1
    again.write(2, rows(2))
    pd.testing.assert_frame_equal(again.finish(), WHOLE)


@pytest.mark.parametrize("damage", [fewer, flipped, cut])
def test_a_damaged_table_never_comes_back(tmp_path, damage):
    made = filled(tmp_path)
    pd.testing.assert_frame_equal(made.finish(), WHOLE)
    damage(made.folder / "pairs.parquet")
    again = store.Store(tmp_path, PLAN, 4)
    with pytest.warns(UserWarning, match=r"pairs\.parquet .*set aside"):
        assert again.rows(range(4)) is None
    assert again.missing() == [0, 1, 2, 3]


def test_a_changed_bit_never_changes_a_row(tmp_path):
    made = filled(tmp_path)
    content, file, noticed = made._part(1).read_bytes(), made._part(1), 0
    for place in range(0, len(content), len(content) // 150):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = made._read(file, "1")
        noticed += bool(told)
        assert (found is None) == bool(told)
        assert found is None or found.equals(rows(1))
    assert noticed > 140


def test_a_whole_evaluation_makes_again_what_is_damaged(tmp_path):
    whole = counted(tmp_path)
    for file in tmp_path.rglob("pairs.parquet"):
        doubled(file)
    with pytest.warns(UserWarning, match="made again"):
        assert counted(tmp_path) == whole


def test_parts_that_are_damaged_whenever_they_are_made_end_it(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "sealed", lambda made, of: b"no table")
    with pytest.raises(OSError, match="damaged again whenever they are made"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counted(tmp_path)


def test_a_cut_plan_is_written_again(tmp_path):
    plan = store.Store(tmp_path, PLAN, 4).folder / "plan.json"
    text = plan.read_text()
    plan.write_text(text[:20])
    store.Store(tmp_path, PLAN, 4)
    assert plan.read_text() == text


def test_finishing_leaves_what_another_process_is_writing(tmp_path):
    one, other = filled(tmp_path), store.Store(tmp_path, PLAN, 4)
    with files.written(one._part(3)) as partial:
        partial.write_bytes(store.sealed(rows(3), f"{one.name} 3"))
        pd.testing.assert_frame_equal(other.finish(), WHOLE)
    pd.testing.assert_frame_equal(one.finish(), WHOLE)
    assert not list(one.folder.glob("parts/*"))


def test_parts_that_another_process_has_made_a_table_of_meanwhile(tmp_path, monkeypatch):
    one, other, read = filled(tmp_path), store.Store(tmp_path, PLAN, 4), store.Store._read

    def late(self, file, what):
        if what == "2" and self is one:
            other.finish()
        return read(self, file, what)

    monkeypatch.setattr(store.Store, "_read", late)
    pd.testing.assert_frame_equal(one.finish(), WHOLE)


def _at_once(folder, number, start):
    start.wait()
    for turn in range(12):
        made = store.Store(folder, {"turn": turn}, 4)
        for part in made.missing():
            made.write(part, rows(part))
        while (table := made.finish()) is None:
            for part in made.missing():
                made.write(part, rows(part))
        assert table.equals(WHOLE), (number, turn)


def test_processes_that_make_the_same_evaluation_at_once_all_end_with_its_table(tmp_path):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    started = [context.Process(target=_at_once, args=(tmp_path, i, start)) for i in range(4)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * 4
    assert len(list(tmp_path.glob("*/pairs.parquet"))) == 12
    assert not list(tmp_path.glob("*/parts/*")) and not list(tmp_path.glob("*/damaged"))
    assert not list(tmp_path.rglob("*.partial"))
