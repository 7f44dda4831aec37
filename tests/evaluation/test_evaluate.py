"""The pass over a dataset: against the protocol written as loops, killed and resumed, and its front door."""

import multiprocessing
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

from cam_utils import data, maps
from cam_utils.evaluation import evaluate
from cam_utils.methods import cams, registry
from cam_utils.networks import models, predictions


@pytest.fixture(scope="module")
def scenes():
    return data.load("digits", "val", n=24)


@torch.no_grad()
def _reference_protocol(model, scenes, method):
    """The protocol of MinMax-CAM's notebooks, one pair at a time, with scalars."""
    rows = []
    for i, sample in enumerate(scenes):
        x = model.preprocess(sample.image[None])
        a, p = model.features(x), model(x).sigmoid()[0]
        w = model.head.weight
        predicted, annotated = p > 0.5, sample.labels > 0
        for kind, present in (("predicted", predicted), ("annotated", annotated)):
            labels = present.nonzero()[:, 0].tolist()
            for c in labels:
                others = [n for n in labels if n != c]
                alpha = w[c].clone()
                if method == "minmax-cam" and others:
                    alpha -= w[others].mean(0)
                m = maps.normalise((alpha[:, None, None] * a[0]).sum(0, keepdim=True).relu())
                m = maps.upsample(m, x.shape[-2:])[0]
                o, oc = model(x * m).sigmoid()[0], model(x * (1 - m)).sigmoid()[0]
                drop, cut = ((p - s).clamp(min=0) / p for s in (o, oc))
                row = {
                    "image_index": i,
                    "label": c,
                    "kind": kind,
                    "p": p[c],
                    "p_masked": o[c],
                    "p_complement": oc[c],
                }
                row |= {"increase_in_confidence": float(p[c] < o[c]), "average_drop": drop[c]}
                row |= {"average_drop_others": drop[others].mean() if others else np.nan}
                row |= {"average_retention": cut[c]}
                row |= {"average_retention_others": cut[others].mean() if others else np.nan}
                rows.append({k: v if isinstance(v, (str, int)) else float(v) for k, v in row.items()})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("method", ["cam", "minmax-cam"])
def test_equals_the_protocol_written_as_loops(model, scenes, method):
    table = evaluate.evaluate(model, scenes, [method], progress=False, batch_size=5, chunk=7)
    expected = _reference_protocol(model, scenes, method)
    for kind, wanted in expected.groupby("kind"):
        ours = table[table[f"in_{kind}"]].sort_values(["image_index", "label"])
        assert len(ours) == len(wanted)
        for column in wanted.columns.drop("kind"):
            np.testing.assert_allclose(ours[column], wanted[column], rtol=1e-3, atol=1e-5, err_msg=column)


def test_the_table_has_each_pair_once_per_set_and_method(model, scenes):
    table = evaluate.evaluate(model, scenes, ["cam", "d-minmax-cam", "grad-cam++"], progress=False)
    p = predictions.predict(model, scenes)
    for method, rows in table.groupby("method"):
        assert not rows.duplicated(["image_index", "label", "in_predicted"]).any(), method
        predicted = rows[rows["in_predicted"]]
        assert len(predicted) == int((p > 0.5).sum())
        assert rows["in_annotated"].sum() == int(scenes.labels.sum())
        annotated = rows[rows["is_annotated"]].drop_duplicates(["image_index", "label"])
        assert len(annotated) <= int(scenes.labels.sum())
    assert table.loc[table["is_annotated"], "energy_in_mask"].notna().mean() > 0.9
    assert table.loc[~table["is_annotated"], "energy_in_mask"].isna().all()


def test_what_is_asked_of_the_evaluation_reaches_the_network(model, scenes):
    """The threshold of predicted labels, the precision of masked forwards, the order of normalising."""
    how = {"methods": ["cam"], "progress": False}
    plain = evaluate.evaluate(model, few := data.Drawn(scenes, 4), **how)
    p = predictions.predict(model, few)
    for threshold in (0.3, 0.7):
        table = evaluate.evaluate(model, few, threshold=threshold, explained="predicted", **how)
        assert len(table) == int((p > threshold).sum()) != int((p > 0.5).sum())
    annotated = evaluate.evaluate(model, few, explained="annotated", **how)
    assert len(annotated) == int(few.labels.sum()) and annotated["in_annotated"].all()
    for changed in ({"precision": "bfloat16"}, {"upsample_first": True}):
        other = evaluate.evaluate(model, few, **changed, **how)
        np.testing.assert_array_equal(other["p"], plain["p"])
        difference = np.abs(other["p_masked"] - plain["p_masked"])
        assert 0 < difference.max() < 0.2, changed
    names = []
    mine = {"mine": lambda query: (names.extend(query.ids), query.activations.sum(1)[query.pairs.image])[1]}
    evaluate.evaluate(model, few, mine, batch_size=3, progress=False)
    assert names == few.ids, "an image's noise is that of its name"


def test_two_sets_that_are_one_are_explained_once():
    predicted = torch.tensor([[True, True, False], [True, False, False]])
    annotated = torch.tensor([[True, True, False], [True, False, True]])
    pairs, sets, facts = evaluate._explained({"predicted": predicted, "annotated": annotated}, "both")
    assert pairs.image.tolist() == [0, 0, 1, 1, 1] and pairs.label.tolist() == [0, 1, 0, 0, 2]
    assert pairs.group.tolist() == [0, 0, 1, 2, 2] and sets.sum(1).tolist() == [2, 2, 1, 2, 2]
    assert facts["in_predicted"].tolist() == [True, True, True, False, False]
    assert facts["in_annotated"].tolist() == [True, True, False, True, True]


def test_workers_that_decode_ahead_change_nothing(model, scenes):
    how = {"methods": ["cam"], "batch_size": 2, "progress": False}
    pd.testing.assert_frame_equal(
        evaluate.evaluate(model, scenes, workers=2, **how), evaluate.evaluate(model, scenes, **how)
    )


def test_batch_size_and_chunk_change_nothing(model, scenes):
    few = data.Drawn(scenes, 6)
    first = evaluate.evaluate(model, few, ["score-cam"], progress=False, batch_size=4, chunk=8)
    second = evaluate.evaluate(model, few, ["score-cam"], progress=False, batch_size=6, chunk=100)
    keys = ["image_index", "label", "in_predicted"]
    first, second = (t.sort_values(keys).reset_index(drop=True) for t in (first, second))
    pd.testing.assert_frame_equal(first, second, rtol=1e-3, atol=1e-5)


def evaluation(folder, n, methods, threads=None, **options):
    """An evaluation that every process does alike; in a forked one torch's threads are gone."""
    if threads:
        torch.set_num_threads(threads)
    network, scenes = models.build("digits", 10, seed=1, bias=0.3), data.load("digits", "val", n=n)
    return evaluate.evaluate(network, scenes, methods, folder=folder, progress=False, **options)


def forked(*arguments, **options):
    """Start :func:`evaluation` in a process of its own, which need not import anything again."""
    process = multiprocessing.get_context("fork").Process(
        target=evaluation, args=arguments, kwargs={**options, "threads": 1}
    )
    process.start()
    return process


def test_killed_in_the_middle_and_started_again_gives_the_same_table(tmp_path):
    killed, what = tmp_path / "killed", (20, ["cam", "score-cam"])
    for wanted in (2, 5):
        process = forked(killed, *what, batch_size=1)
        deadline = time.time() + 120
        while len(list(killed.glob("*/parts/*.parquet"))) < wanted and time.time() < deadline:
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not list(killed.glob("*/pairs.parquet"))
        assert wanted <= len(list(killed.glob("*/parts/*.parquet"))) < 20
    before = torch.get_num_threads()
    for name in ("killed", "whole"):
        evaluation(tmp_path / name, *what, threads=1, batch_size=1)  # as above: several add in another order
    torch.set_num_threads(before)
    tables = [pd.read_parquet(*(tmp_path / name).glob("*/pairs.parquet")) for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)
    assert not tables[1].duplicated(["image_index", "label", "method", "in_predicted"]).any()
    assert not list(killed.rglob("*.partial")) and not list(killed.glob("*/parts/*"))


def test_a_resumed_run_does_not_redo_a_complete_part(model, scenes, tmp_path, monkeypatch):
    original, done = evaluate.evaluate_batch, []

    def counting(*args, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args[1].ids)
        return original(*args, **options)

    monkeypatch.setattr(evaluate, "evaluate_batch", counting)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(model, scenes, ["cam"], folder=tmp_path, batch_size=6, progress=False)
    monkeypatch.setattr(evaluate, "evaluate_batch", lambda *a, **o: done.append(a[1].ids) or original(*a, **o))
    table = evaluate.evaluate(model, scenes, ["cam"], folder=tmp_path, batch_size=6, progress=False)
    assert [name for ids in done for name in ids] == scenes.ids
    pd.testing.assert_frame_equal(table, pd.read_parquet(*tmp_path.glob("*/pairs.parquet")))


def test_two_evaluations_in_one_folder_never_mix(model, scenes, tmp_path):
    """Started at once in one folder they wrote one table before: now each has a subfolder of its own."""
    few = data.Drawn(scenes, 8)
    other = models.build("digits", 10, seed=9).eval()
    how = {"folder": tmp_path, "batch_size": 2, "explained": "annotated", "progress": False}
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(evaluate.evaluate, net, few, ["cam"], **how) for net in (model, other)]
        tables = [each.result() for each in waiting]
    for net, table in zip((model, other), tables, strict=True):
        alone = evaluate.evaluate(net, few, ["cam"], **(how | {"folder": None}))
        pd.testing.assert_frame_equal(table, alone, rtol=1e-4, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_model_for_other_classes_is_refused(scenes):
    with pytest.raises(ValueError, match="the model has 80 labels, the dataset 10"):
        evaluate.evaluate(models.build("digits", 80), scenes, ["cam"])


def test_two_processes_share_an_evaluation_and_every_pair_is_there_once(tmp_path):
    how = {"batch_size": 3}
    started = [forked(tmp_path, 20, ["cam"], shard=(i, 2), **how) for i in range(2)]
    for process in started:
        process.join(240)
    assert [process.exitcode for process in started] == [0, 0]
    parts = sorted(file.stat().st_mtime_ns for file in tmp_path.glob("*/parts/*"))
    assert len(parts) == 7
    again = [evaluation(tmp_path, 20, ["cam"], shard=(i, 2), **how) for i in range(2)]
    assert all(len(rows) and set(rows["image_index"] // 3 % 2) == {i} for i, rows in enumerate(again))
    assert sorted(file.stat().st_mtime_ns for file in tmp_path.glob("*/parts/*")) == parts, "none was made again"
    together = evaluation(tmp_path, 20, ["cam"], **how)
    assert not list(tmp_path.glob("*/parts/*")), "all parts were there, and became the table"
    alone = evaluation(None, 20, ["cam"], **how)
    own = evaluation(tmp_path, 20, ["cam"], shard=(1, 2), **how)
    assert set(own["image_index"] // 3 % 2) == {1}, "of a finished table a shard gets its own rows"
    pd.testing.assert_frame_equal(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("shard", "folder"), [((2, 2), "here"), ((0, 2), None)])
def test_a_shard_that_is_none_is_refused(model, scenes, shard, folder):
    with pytest.raises(ValueError, match=r"expected a shard \(i, n\) with 0 <= i < n, and a folder"):
        evaluate.evaluate(model, scenes, ["cam"], shard=shard, folder=folder)


def test_a_methods_options_reach_it_and_are_part_of_the_plan(model, scenes, tmp_path):
    few = data.Drawn(scenes, 2)

    def run(folder, **options):
        return evaluate.evaluate(model, few, [registry.method("ss-cam", **options)], folder=folder, progress=False)

    plain = run(tmp_path, draws=1, sigma=0.0)
    other = run(tmp_path, draws=1, sigma=0.5, softmax=False)
    assert set(plain["method"]) == {"ss-cam"} and not np.allclose(plain["p_masked"], other["p_masked"])
    pd.testing.assert_frame_equal(run(tmp_path, draws=1, sigma=0.0), plain)
    assert len(list(tmp_path.glob("*/pairs.parquet"))) == 2, "two evaluations in one folder stay two"


def minmax(query):
    weights = query.model.head.weight
    return cams.minmax_cam(query.model.features(query.images), weights, query.pairs)


def test_a_method_of_ones_own_gets_every_column_and_sees_the_sets(model, scenes):
    table = evaluate.evaluate(model, scenes, {"minmax-cam": "minmax-cam", "mine": minmax}, progress=False)
    own, mine = (table[table["method"] == name].drop(columns="method") for name in ("minmax-cam", "mine"))
    pd.testing.assert_frame_equal(own.reset_index(drop=True), mine.reset_index(drop=True), atol=1e-5)
    assert len(mine) > 24


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"cam": lambda query: query.images[query.pairs.image, 0]}, "expected a new name for a method of your own"),
        ({"mine": lambda query: query.images[query.pairs.image]}, r"expected finite maps .* mine, got \("),
        ({"mine": lambda query: query.images[:1, 0] * torch.nan}, r"expected finite maps .* mine, got \(1, "),
        ({"mine": lambda query: query.images.sum(1).tolist()}, "from the method mine, got list"),
        ([minmax, minmax], "two methods are named 'minmax'"),
        (["camm"], "unknown method 'camm'; did you mean 'cam'"),
        ([3], "expected a method's name or a callable, got 3"),
        ([], "expected at least one method"),
    ],
)
def test_what_is_no_method_or_gives_no_maps_is_named(model, scenes, methods, message):
    with pytest.raises(ValueError, match=message):
        evaluate.evaluate(model, scenes, methods, progress=False)
