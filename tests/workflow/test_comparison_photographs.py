"""The study of all methods on photographs: its parts against the library's own ways, and the stored table."""

import json

import numpy as np
import pandas as pd
import pytest

from cam_utils import data, files
from cam_utils.evaluation import evaluate, facts, ranking
from cam_utils.methods import combinations, registry
from cam_utils.networks import models
from workflow.studies import comparison_photographs as study
from workflow.studies import photograph_cells as cells

STORED = files.DATA / "results" / f"{study.NAME}.parquet"


@pytest.fixture(scope="module")
def digits():
    return study.several(data.load("digits", "val", size=96, limit=12), 2)


@pytest.fixture(scope="module")
def net():
    return models.build("digits", 10, seed=2).eval()


def test_the_first_images_of_several_labels_are_taken(digits):
    whole = data.load("digits", "val", size=96, limit=12)
    counts = whole.labels.sum(1)
    assert [whole.ids.index(name) for name in digits.ids] == (counts > 1).nonzero().flatten().tolist()[:2]
    with pytest.raises(ValueError, match="expected 99 images of several labels in digits, got"):
        study.several(whole, 99)


def test_shared_forwards_give_the_methods_of_the_library(digits, net, tmp_path):
    names = ("cam", "everywhere", *study.OF_FORWARDS)
    ours = study.measured(net, digits, names, folder=tmp_path, progress=False)
    given = {"cam": "cam", "score-cam": "score-cam", "score x minmax": combinations.score_minmax}
    for first in (True, False):
        theirs = evaluate.evaluate(
            net, digits, given, explained="annotated", upsample_first=first, batch_size=1, progress=False
        )
        rows = ours[ours["upsample_first"] == first]
        # Maps of the image's size are measured once, since the order changes nothing for them.
        assert set(rows["method"]) == ({*names} if first else {"cam"})
        keys = ["method", "image_index", "label"]
        both = rows.merge(theirs, on=keys, suffixes=("", "_theirs"))
        assert len(both) == len(rows[rows["method"] != "everywhere"])
        for metric in ("average_drop", "average_retention_others", "iou_0.3"):
            np.testing.assert_allclose(both[metric], both[f"{metric}_theirs"], atol=1e-4)


def test_rows_of_some_methods_replace_their_own_and_no_others(tmp_path):
    record = {"dataset": "a", "digests": {"head": "b"}}

    def rows(value, *methods):
        return pd.DataFrame({"method": list(methods), "average_drop": [value] * len(methods)})

    study.stored(tmp_path, rows(0.1, "cam", "dot"), record | {"runs": [{"methods": ["cam", "dot"], "git": "1"}]})
    study.stored(tmp_path, rows(0.2, "dot", "new"), record | {"runs": [{"methods": ["dot", "new"], "git": "2"}]})
    table = pd.read_parquet(tmp_path / f"{study.NAME}.parquet")
    found = dict(zip(table["method"], table["average_drop"].tolist(), strict=True))
    assert found == pytest.approx({"cam": 0.1, "dot": 0.2, "new": 0.2})
    told = json.loads((tmp_path / f"{study.NAME}.json").read_text())
    assert [(run["git"], run["methods"]) for run in told["runs"]] == [("1", ["cam"]), ("2", ["dot", "new"])]
    study.stored(tmp_path, rows(0.3, "cam"), record | {"dataset": "other", "runs": [{"methods": ["cam"]}]})
    assert len(pd.read_parquet(tmp_path / f"{study.NAME}.parquet")) == 1, "of other images nothing is kept"


def test_the_stored_table_is_whole_and_its_record_fits():
    table, record = pd.read_parquet(STORED), json.loads(STORED.with_suffix(".json").read_text())
    assert STORED.stat().st_size < 1_500_000
    own = table[table["upsample_first"]]
    assert set(own["method"]) == {name for run in record["runs"] for name in run["methods"]}
    assert set(own.groupby("method", observed=True).size()) == {record["pairs"]}
    assert own["image_index"].nunique() == record["images"] >= 20
    assert not own.duplicated(["method", "image_index", "label"]).any() and (own["set_size"] > 1).all()
    assert set(table.loc[~table["upsample_first"], "method"]) < set(own["method"])
    of_map = own.set_index("method")
    assert of_map.loc["everywhere", "average_drop"].mean() < 0.01
    assert of_map.loc["dot", "average_retention_others"].mean() < 0.01
    # On a linear head Grad-CAM, XGrad-CAM and HiResCAM are CAM, by algebra.
    groups = ranking.alike(own.astype({"method": str}), (*facts.SCORE_METRICS, *facts.PIXEL_METRICS))
    assert {"cam", "grad-cam", "xgrad-cam", "hirescam"} <= set(next(g for g in groups if "cam" in g))


def test_a_stored_image_can_be_measured_again(shared):
    table, record = (
        pd.read_parquet(STORED).astype({"method": str}),
        json.loads(STORED.with_suffix(".json").read_text()),
    )
    images = study.several(cells.loader(study.DATASET, shared / "data")("test"), record["images"])
    assert images.fingerprint() == record["dataset"]
    stored_heads = files.DATA / "results" / study.HEADS
    made = cells.with_heads(study.NETWORK, "imagenet", images.classes, [study.FIT], stored_heads)
    model = made[study.FIT.name]
    assert files.fingerprint(*model.head.state_dict().values()) == record["digests"]["head"]
    one = cells.View(images, [0], images.labels[[0]], images.classes, {})
    names = ["cam", "minmax-cam", "grad-cam++"]
    for first in (True, False):
        again = evaluate.evaluate(
            model, one, {n: registry.METHODS[n] for n in names}, explained="annotated", upsample_first=first,
            progress=False,
        )  # fmt: skip
        rows = table[(table["image_index"] == 0) & (table["upsample_first"] == first) & table["method"].isin(names)]
        both = again.merge(rows, on=["method", "label"], suffixes=("", "_stored"))
        assert len(both) == len(again) == len(rows)
        for metric in ("p", "average_drop", "average_drop_others", "energy_in_mask"):
            np.testing.assert_allclose(both[metric], both[f"{metric}_stored"], atol=2e-3)


def test_every_method_that_takes_no_masked_forwards_has_a_name_of_the_chapter():
    known = set(study.affordable())
    assert {"cam", "fullgrad", "full-gradients", "guided-backprop", "layers x minmax", "dot"} <= known
    assert not {"ss-cam", "ss-cam-mean", "representative-cam", *study.OF_FORWARDS} & known
