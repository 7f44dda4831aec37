"""Names of labels from lists and files, and what a wrong one says."""

import json

import pytest

from cam_utils.front.labels import class_names, label_indices
from cam_utils.networks.models import imagenet_classes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "cat\nsea lion\n"),
        ("a.json", json.dumps(["cat", "sea lion"])),
        ("a.json", json.dumps({"1": "sea lion", "0": "cat"})),
        ("a.json", json.dumps({"sea lion": 1, "cat": 0})),
        ("a.json", json.dumps({"0": ["n01", "cat"], "1": ["n02", "sea lion"]})),
    ],
)
def test_names_are_read_from_the_usual_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert class_names(tmp_path / name) == ("cat", "sea lion")


def test_bad_names_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"1": "cat", "2": "dog"}')
    cases = [
        (tmp_path / "none.txt", FileNotFoundError, "no file of class names at .*none.txt"),
        (tmp_path / "a.json", ValueError, "a.json is no JSON"),
        (tmp_path / "b.json", ValueError, "expected the indices 0 to 1 of 2 classes, each once"),
        ([], ValueError, "expected a list of class names"),
        ([1, 2], ValueError, "expected a list of class names"),
        (0, ValueError, "expected a list of class names, a file of them or how many there are, got 0"),
    ]
    for classes, kind, message in cases:
        with pytest.raises(kind, match=message):
            class_names(classes)


def test_labels_are_found_by_name_and_index_and_a_wrong_one_names_the_nearest():
    names = imagenet_classes()
    assert len(names) == 1000 and names[281] == "tabby"
    assert label_indices(["tabby", 3, 281], names) == [281, 3]
    assert label_indices(["3", 3], [str(i) for i in range(10)]) == [3]
    with pytest.raises(ValueError, match="unknown label 'french buldog'; did you mean 'French bulldog'") as failure:
        label_indices(["french buldog"], names)
    assert len(str(failure.value)) < 250 and "1000 in all" in str(failure.value)
    with pytest.raises(ValueError, match=r"label 'crane' names several classes: give the index, one of \[0, 2\]"):
        label_indices(["crane"], ["crane", "cat", "crane"])
    with pytest.raises(ValueError, match=r"expected labels in 0\.\.999, got 1000"):
        label_indices([1000], names)
    with pytest.raises(ValueError, match="unknown label True"):
        label_indices([True], names)
