"""Names of labels from lists and files, and what a wrong one says."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from cam_utils.front.labels import class_names, label_indices
from cam_utils.networks.models import imagenet_classes

FILES = {
    "lines": ("a.txt", "cat\nsea lion\n"),
    "lines of Windows, with a mark and blanks": ("a.txt", "\ufeffcat\r\nsea lion  \r\n\r\n"),
    "one line": ("coco.names", "cat\nsea lion"),
    "no suffix": ("labels", "cat\nsea lion"),
    "synset ids": ("synset_words.txt", "n02123045 cat\nn02077923 sea lion\n"),
    "a printed dictionary": ("a.txt", "{0: 'cat',\n 1: 'sea lion'}"),
    "a printed list": ("a.txt", "['cat', 'sea lion']"),
    "list": ("a.json", json.dumps(["cat", "sea lion"])),
    "by index": ("a.json", json.dumps({"1": "sea lion", "0": "cat"})),
    "by name": ("a.JSON", json.dumps({"sea lion": 1, "cat": 0})),
    "ImageNet's": ("a.json", json.dumps({"0": ["n01", "cat"], "1": ["n02", "sea lion"]})),
    "a key above": ("config.json", json.dumps({"size": 224, "id2label": {"1": "sea lion", "0": "cat"}})),
    "COCO's": ("a.json", json.dumps({"categories": [{"id": 1, "name": "cat"}, {"id": 90, "name": "sea lion"}]})),
}


@pytest.mark.parametrize("form", FILES)
def test_names_are_read_from_the_usual_files(tmp_path, form):
    name, text = FILES[form]
    (tmp_path / name).write_text(text, newline="")
    assert class_names(tmp_path / name) == class_names(str(tmp_path / name)) == ("cat", "sea lion")


def test_names_are_taken_from_the_usual_objects():
    two = ["cat", "sea lion"]
    forms = [two, tuple(two), np.array(two), pd.Series(two), pd.Index(two), {0: "cat", 1: "sea lion"}]
    forms += [
        {"sea lion": 1, "cat": 0},
        {"sea lion": np.int64(1), "cat": torch.tensor(0)},
        {"1": "sea lion", "0": "cat"},
    ]
    for form in forms:
        assert class_names(form) == ("cat", "sea lion")
    for count in (2, np.int64(2), torch.tensor(2)):
        assert class_names(count) == ("class 0", "class 1")
    assert class_names(["crane", "crane"]) == ("crane", "crane")


def test_bad_names_are_refused(tmp_path):
    for name, text in {
        "a.json": "{", "b.json": '{"1": "cat", "2": "dog"}', "c.json": '{"cat": "dog"}', "d.json": "3",
        "e.txt": "{0: 'cat'", "f.txt": "", "g.txt": "cat\n\ndog\n", "h.csv": "index,name\n0,cat\n",
        "i.json": "[1, 2]", "j.json": "{}", "k.json": '[["cat"]]', "l.json": '{"0": []}',
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    (tmp_path / "m.txt").write_bytes("café".encode("latin-1"))
    cases = [
        (tmp_path / "none.txt", FileNotFoundError, r"no file of class names at .*none.txt"),
        (tmp_path, FileNotFoundError, r"no file of class names at .*: it is a folder"),
        (tmp_path / "a.json", ValueError, "a.json is no JSON"),
        (tmp_path / "b.json", ValueError, "expected the indices 0 to 1 of 2 classes in b.json, each once"),
        (tmp_path / "c.json", ValueError, "expected {index: name} or {name: index} in c.json: invalid literal"),
        (tmp_path / "d.json", ValueError, "expected a list of class names"),
        (tmp_path / "e.txt", ValueError, "e.txt is no list or dictionary of Python"),
        (tmp_path / "f.txt", ValueError, "expected a list of class names"),
        (tmp_path / "g.txt", ValueError, "expected a name for every class, but that of class 1 in g.txt is empty"),
        (tmp_path / "h.csv", ValueError, r"expected class names in a file ending in .txt or .json, got h.csv"),
        *((tmp_path / f"{name}.json", ValueError, "expected a list of class names") for name in "ijkl"),
        (tmp_path / "m.txt", ValueError, "m.txt is no text in UTF-8"),
        ([], ValueError, "expected a list of class names"),
        ([1, 2], ValueError, "expected a list of class names"),
        ({"cat": True, "dog": False}, ValueError, "invalid literal"),
        ({"cat": 0, "dog": 0}, ValueError, "expected the indices 0 to 1 of 2 classes in `classes`, each once"),
        (0, ValueError, "expected a list of class names, a file of them or how many there are, got 0"),
        *((value, ValueError, "expected a list of class names") for value in (True, 2.0, -1, None, b"ab")),
    ]
    for classes, kind, message in cases:
        with pytest.raises(kind, match=message) as failure:
            class_names(classes)
        assert "\n" not in str(failure.value)


def test_labels_are_found_by_name_and_index_and_a_wrong_one_names_the_nearest():
    names = imagenet_classes()
    assert len(names) == 1000 and names[281] == "tabby"
    assert label_indices(["tabby", 3, 281], names) == [281, 3]
    assert label_indices("tabby", names) == label_indices(281, names) == [281]
    with pytest.raises(ValueError, match="unknown label 'french buldog'; did you mean 'French bulldog'") as failure:
        label_indices(["french buldog"], names)
    assert len(str(failure.value)) < 250 and "1000 in all" in str(failure.value)
    with pytest.raises(ValueError, match=r"expected labels in 0\.\.999, got 1000"):
        label_indices([1000], names)


LONG = (
    "tench, Tinca tinca",
    "crane",
    "crane",
    "maillot",
    "maillot, tank suit",
    "tabby, tabby cat",
    "sea_lion",
    "Cardigan",
)
LONG += ("cardigan", "Crab", "crab, Cancer", "tabby")


@pytest.mark.parametrize(
    ("label", "index"),
    [
        ("tench, Tinca tinca", 0), ("tench", 0), ("Tinca tinca", 0), ("TENCH", 0), ("tinca  tinca ", 0),
        ("maillot", 3),  # a whole name goes before a synonym
        ("tank suit", 4), ("tank_suit", 4), ("maillot, tank suit", 4), ("Maillot", 3),
        ("tabby cat", 5), ("tabby", 11), ("sea lion", 6), ("Sea Lion", 6), ("sea_lion", 6),
        ("Cardigan", 7), ("cardigan", 8), ("crab", 10), ("Crab", 9), ("cancer", 10),
    ],
)  # fmt: skip
def test_a_name_may_be_a_synonym_and_last_of_all_written_otherwise(label, index):
    assert label_indices([label], LONG) == [index]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("crane", r"label 'crane' names several classes: give the index, one of 1 \(crane\), 2 \(crane\)"),
        ("CRANE", r"label 'CRANE' names several classes: give the index, one of 1 \(crane\), 2 \(crane\)"),
        ("CARDIGAN", r"names several classes: give the index, one of 7 \(Cardigan\), 8 \(cardigan\)"),
        ("tabb", "unknown label 'tabb'; did you mean"),
        ("cat", "unknown label 'cat'"),
        ("", "unknown label ''"),
        ("3", "unknown label '3': an index is a number, 3, and no text"),
        (" -1", "unknown label ' -1': an index is a number, -1, and no text"),
        (-1, r"expected labels in 0\.\.11, got -1"),
        (np.int64(12), r"expected labels in 0\.\.11, got 12"),
        (True, "expected labels as names or whole numbers, got True"),
        (np.bool_(True), "expected labels as names or whole numbers, got True"),
        (torch.tensor(True), "expected labels as names or whole numbers, got True"),
        (1.0, r"expected labels as names or whole numbers, got 1\.0"),
        (np.float32(1), r"expected labels as names or whole numbers, got 1\.0"),
        (torch.tensor(1.0), r"expected labels as names or whole numbers, got 1\.0"),
        (torch.tensor([1]), r"expected labels as names or whole numbers, got \[1\]"),
        (None, "expected labels as names or whole numbers, got None"),
        (b"crane", "expected labels as names or whole numbers, got b'crane'"),
    ],
)
def test_what_names_no_class_or_several_is_refused(label, message):
    with pytest.raises(ValueError, match=message):
        label_indices([label], LONG)


def test_numbers_may_be_of_any_library_and_names_may_be_numbers():
    for number in (3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor(3, dtype=torch.uint8)):
        assert label_indices([number], LONG) == label_indices(number, LONG) == [3]
    for several in (np.array([3, 0, 3]), torch.tensor([3, 0, 3]), (3, 0), {3: "a", 0: "b"}, iter([3, 0])):
        assert label_indices(several, LONG) == [3, 0]
    assert label_indices(["3", 3, np.str_("4")], [str(i) for i in range(10)]) == [3, 4]
