"""Around the experiment: parameters, devices, checkpoints by settings, the run record, and whole small runs."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from cam_utils import claims, data, files, runs, seals
from cam_utils.evaluation import evaluate, facts, results
from cam_utils.networks import models, predictions, schedules, training
from cam_utils.networks.schedules import Stage

METHODS = ["cam", "grad-cam++", "score-cam", "minmax-cam", "d-minmax-cam"]


@pytest.fixture
def quick(monkeypatch):
    """A schedule of one epoch on few scenes."""
    stage = Stage(1, 0.008, optimizer="adamw", augment="digits", keep="last", data={"n": 64})
    monkeypatch.setitem(schedules.SCHEDULES, "quick", (stage,))
    return partial(runs.trained, network="digits", schedule="quick", progress=False)


def test_a_checkpoint_is_reused_only_for_exactly_its_settings(quick, tmp_path):
    load = partial(data.load, "digits", co_occurrence=0.9)
    first, path = quick(load, head="linear", folder=tmp_path)
    stamp = path.stat().st_mtime_ns
    again, same = quick(load, head="linear", folder=tmp_path)
    assert same == path and path.stat().st_mtime_ns == stamp
    assert torch.equal(first.head.weight, again.head.weight)
    others = [
        quick(load, head="kernel-usage", folder=tmp_path),
        quick(load, head="linear", seed=1, folder=tmp_path),
        quick(partial(data.load, "digits", co_occurrence=0.0), head="linear", folder=tmp_path),
    ]
    assert len({path, *(p for _, p in others)}) == 4
    quick(load, head="linear", folder=tmp_path, retrain=True)
    assert path.stat().st_mtime_ns > stamp


def test_the_committed_networks_are_found_and_classify_as_promised(monkeypatch):
    from workflow.studies import digits

    def missing(*_args, **_options):
        raise AssertionError("a checkpoint is not committed: run `make checkpoints`")

    monkeypatch.setattr(training, "train", missing)
    committed = files.DATA / "checkpoints"
    assert sum(p.stat().st_size for p in committed.glob("*.pt")) <= 5e6
    for setting in digits.settings(seeds=(0,)):
        model, load = digits.model_of(setting)
        scenes = load("val")
        predicted, true = predictions.predict(model, scenes) > 0.5, scenes.labels > 0
        hits = (predicted & true).sum(0)
        f1 = (2 * hits / (predicted.sum(0) + true.sum(0))).mean().item()
        assert f1 >= 0.90, setting


def test_a_schedule_fits_dataset_and_head():
    assert runs.schedule_for("digits", "linear") == "digits"
    assert runs.schedule_for("voc2007", "kernel-usage") == "paper-kernel-usage"
    assert schedules.SCHEDULES["paper-kernel-usage"][0].lr == 1.0  # dev-kernel-usage-rate


def test_unknown_schedule_and_device_are_named(quick):
    with pytest.raises(ValueError, match="unknown schedule 'papers'; did you mean 'paper'"):
        quick(partial(data.load, "digits"), head="linear", schedule="papers")
    with pytest.raises(ValueError, match="device 'cuda:7' is not available here"):
        runs.pick_device("cuda:7")
    assert runs.pick_device("cpu") == "cpu"


def test_the_run_record_says_where_numbers_come_from(tmp_path):
    runs.write_run(tmp_path / "run", {"seed": 3, "limit": None}, time.time() - 5, note="x")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["parameters"] == {"seed": 3, "limit": None} and record["note"] == "x"
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["wall_s"] >= 5 and record["device"]
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["run.json"]


def test_what_a_run_measured_is_written_whole(tmp_path):
    table = pd.DataFrame({"a": [1, 2]})
    for name in ("pairs.parquet", "means.csv"):
        runs.save(tmp_path / "run" / name, table)
    runs.save(tmp_path / "run" / "facts.json", {"loss": torch.tensor(0.5), "classes": ["a"]})
    run = runs.Run(tmp_path / "run", {})
    pd.testing.assert_frame_equal(run.table(), table)
    assert run.facts() == {"loss": 0.5, "classes": ["a"]}
    with pytest.raises(TypeError):
        runs.save(tmp_path / "run" / "facts.json", {"loss": object()})
    assert run.facts()["loss"] == 0.5  # what stood there stays
    with pytest.raises(ValueError, match=r"unknown kind of file '\.txt'"):
        runs.save(tmp_path / "run" / "facts.txt", {})


def test_a_run_that_was_changed_after_it_was_written_is_named(tmp_path):
    folder = tmp_path / "run"
    runs.save(folder / "means.csv", pd.DataFrame({"value": [1.0, 2.0]}))
    runs.save(folder / "facts.json", {"loss": 0.5})
    runs.write_run(folder, {"seed": 3}, time.time(), chapter="ss_cam")
    (run,) = runs.read_runs(tmp_path)
    assert set(run.record["files"]) == {"means.csv", "facts.json"}
    seals.check_run(folder, run.record)
    for name, change in (("means.csv", ("2", "3")), ("facts.json", ("0.5", "0.6")), ("run.json", ("3", "4"))):
        before = (folder / name).read_text()
        (folder / name).write_text(before.replace(*change, 1))
        with pytest.raises(ValueError, match=f"^{re.escape(name)} is damaged, (or )?was changed"):
            seals.check_run(folder, json.loads((folder / "run.json").read_text()))
        (folder / name).write_text(before)
    (folder / "means.csv").unlink()
    with pytest.raises(ValueError, match=r"^means\.csv is damaged, was changed, or is gone"):
        seals.check_run(folder, run.record)


def test_a_table_that_a_run_did_not_store_is_not_read(tmp_path):
    """Rows doubled or lost, and a run begun anew in an old one's folder, gave a wrong table in silence."""
    folder, table = tmp_path / "run", pd.DataFrame({"value": [1.0, 2.0]})
    runs.save(folder / "pairs.parquet", table)
    runs.save(folder / "facts.json", {"loss": 0.5})
    runs.write_run(folder, {}, time.time(), chapter="ss_cam")
    (run,) = runs.read_runs(tmp_path)
    pd.testing.assert_frame_equal(run.table(), table)
    assert run.facts() == {"loss": 0.5} and run.table("curves").empty
    for other in (table.iloc[1:], pd.concat([table, table])):
        runs.save(folder / "pairs.parquet", other)
        with pytest.raises(
            ValueError, match=r"^pairs\.parquet is damaged, was changed, or is gone.*in .*run again$"
        ):
            run.table()
    (folder / "pairs.parquet").unlink()
    with pytest.raises(ValueError, match=r"pairs\.parquet"):
        run.table()
    (folder / "facts.json").write_text('{"loss"')
    with pytest.raises(ValueError, match=r"facts\.json"):
        run.facts()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"null", b'{"chapter": "ss', b"\xff\xfe", b"[" * 99_999])
def test_a_damaged_record_is_named_and_the_other_runs_are_read(tmp_path, content):
    for name in ("a", "b"):
        runs.write_run(tmp_path / name, {}, time.time(), chapter="ss_cam")
    (tmp_path / "a" / "run.json").write_bytes(content)
    with pytest.warns(UserWarning, match=r"left out .*a.run\.json: .*make the run again"):
        assert [run.id for run in runs.read_runs(tmp_path)] == ["b"]


def test_a_full_disk_loses_no_trained_network(quick, tmp_path, monkeypatch):
    load = partial(data.load, "digits", seed=77)
    with monkeypatch.context() as full:

        def fails(path, *_args, **_facts):
            raise OSError(28, f"{path} cannot be written")

        full.setattr(models, "save_checkpoint", fails)
        with pytest.raises(OSError, match=r"cannot be written; the trained network is kept in .*: make room"):
            quick(load, head="linear", folder=tmp_path)
    monkeypatch.setattr(training.Training, "training_step", lambda *_: pytest.fail("trained again"))
    model, path = quick(load, head="linear", folder=tmp_path)
    assert path.is_file() and sorted(model.state_dict()) == sorted(models.load_checkpoint(path).state_dict())


def test_a_checkpoint_under_anothers_name_is_refused(quick, tmp_path):
    load = partial(data.load, "digits")
    paths = [quick(load, head="linear", seed=seed, folder=tmp_path)[1] for seed in (0, 1)]
    shutil.copy(*paths)
    with pytest.raises(
        ValueError, match=r"is the network of other settings than its name says; delete .*trained again"
    ):
        quick(load, head="linear", seed=1, folder=tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-50])
    with pytest.raises(
        ValueError, match=rf"{paths[0].name} is damaged .*; delete .*, and the network is trained again"
    ):
        quick(load, head="linear", folder=tmp_path)


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    """Two runs that shared a temporary name took each other's file away, and one of them failed."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: runs.save(tmp_path / "facts.json", {"writer": i, "rest": "x" * 5000}), range(600)))
    assert json.loads((tmp_path / "facts.json").read_text())["rest"] == "x" * 5000
    assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]


INSTALLED = """
import sys
from cam_utils import claims, files, runs
from cam_utils.evaluation import ranking, results
print(files.cache())
print(runs.folder("ss_cam", {"dataset": "digits"}))
print({"torch", "pycocotools", "lightning", "matplotlib"} & set(sys.modules))
print(len(claims.judge([])))
try:
    results.paper_table("minmax_table1")
except FileNotFoundError as error:
    print(error)
"""


def test_an_installation_without_the_repository_reads_runs_and_says_what_it_lacks(tmp_path):
    """The package alone: no data beside it, nothing written into it, and no torch to read a run."""
    shutil.copytree(files.PACKAGE, tmp_path / "site" / "cam_utils", ignore=shutil.ignore_patterns("__pycache__"))
    changed = {
        "PYTHONPATH": str(tmp_path / "site"),
        "XDG_CACHE_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAM_UTILS")} | changed
    done = subprocess.run(
        [sys.executable, "-B", "-c", INSTALLED], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    cache, folder, heavy, count, sentence = done.stdout.splitlines()
    assert cache.startswith(str(tmp_path)) and not cache.startswith(str(tmp_path / "site"))
    assert folder.startswith(cache) and heavy == "set()" and int(count) == len(claims.CLAIMS)
    assert f"no folder {tmp_path / 'site' / 'data'}: the project's tables come with its repository" in sentence
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["cam_utils"]


def _evaluate_all(dataset, model):
    table = evaluate.evaluate(model, dataset, METHODS, progress=False)
    found = results.aggregate(table, pairs="annotated", metrics=facts.SCORE_METRICS + facts.PIXEL_METRICS)
    assert set(found["method"]) == set(METHODS)
    assert found["value"].dropna().between(0, 1).all() and found["value"].notna().mean() > 0.9
    one = table[table["set_size"] == 1].pivot_table(
        index=["image_index", "label", "in_predicted"], columns="method", values="average_drop"
    )
    for method in ("minmax-cam", "d-minmax-cam"):  # E1: a label alone has one map in all three forms
        torch.testing.assert_close(
            torch.tensor(one["cam"].to_numpy()), torch.tensor(one[method].to_numpy()), rtol=1e-3, atol=1e-4
        )
    return table


def test_real_coco_images_go_all_the_way(coco_root, squeezenet_weights):
    dataset = data.load("coco2017", "val", root=coco_root, size=96, limit=4)
    model = models.build("squeezenet1_0", 80, weights=squeezenet_weights)
    table = _evaluate_all(dataset, model)
    defined = table["is_annotated"] & ~table["is_zero"]
    assert table.loc[defined, "energy_in_box"].notna().all()


def test_a_voc_tree_goes_all_the_way(voc_root):
    dataset = data.load("voc2007", "trainval", root=voc_root, size=64)
    model = models.build("squeezenet1_0", 20)
    table = _evaluate_all(dataset, model)
    assert table.loc[table["is_annotated"], "energy_in_mask"].isna().any()  # images without masks
    assert table.loc[table["is_annotated"], "energy_in_mask"].notna().any()


def test_coco_trains_a_head_on_real_images(coco_root, squeezenet_weights, tmp_path, monkeypatch):
    stage = Stage(3, 0.01, unfrozen=0.0, plateau=3, early_stop=20)
    monkeypatch.setitem(schedules.SCHEDULES, "short", (stage,))
    load = partial(data.load, "coco2017", root=coco_root, size=96)
    model, path = runs.trained(
        load, network="squeezenet1_0", head="linear", schedule="short", weights=str(squeezenet_weights),
        folder=tmp_path, progress=False,
    )  # fmt: skip
    assert torch.load(path, weights_only=True)["facts"]["history"]["epoch"] == 3
    fresh = models.build("squeezenet1_0", 80, weights=squeezenet_weights)
    for a, b in zip(fresh.features.parameters(), model.features.parameters(), strict=True):
        assert torch.equal(a, b)
    images = load("train")
    before, after = (F.binary_cross_entropy(predictions.predict(m, images), images.labels) for m in (fresh, model))
    assert after < before / 2


def test_the_study_tables_are_summaries_of_the_study():
    from workflow.studies import digits

    folder = files.DATA / "results"
    rows = pd.read_csv(
        folder / "minmax_digits.csv", keep_default_na=False, na_values={"low": "", "high": "", "n_pairs": ""}
    )
    for name, table in digits.summarise(rows).items():
        stored = pd.read_csv(folder / f"minmax_digits_{name}.csv")
        pd.testing.assert_frame_equal(stored, table, check_dtype=False, check_names=False)
