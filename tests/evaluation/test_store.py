"""Rows kept in parts: what determines them names their folder. Kills and shards: test_evaluate.py."""

import pandas as pd
import pytest

from cam_utils import data
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
