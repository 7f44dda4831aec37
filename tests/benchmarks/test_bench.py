"""The benchmarks' arithmetic, their page, and the GPU's command tried on the CPU."""

import json
import math
import subprocess
import sys

import batches
import bench
import growth
import pandas as pd
import pytest
import race
import workloads

from cam_utils.networks.capture import capture
from tests.conftest import ROOT
from workflow.batch.memory import KEEPING
from workflow.site import batches_part, speed_page

ROW = {
    "group": "cams", "network": "squeezenet1_0", "batch": 1, "labels": 3, "size": 224, "repeats": 3, "warm": True,
    "seconds": {"ours": 2.2, "pytorch-grad-cam": 22.0, "limit": 2.0},
    "ratios": {"ours / limit": [1.1, 1.0, 1.2], "ours, cam / limit": [1.3, 1.0, 1.4],
               "pytorch-grad-cam / ours": [10.0, 9.0, 11.0]},
}  # fmt: skip


def test_ratios_are_those_within_a_round():
    measured = {"ours": [1.0, 10.0, 3.0], "limit": [1.0, 5.0, 2.0]}  # medians 3 and 2, but rounds 1, 2 and 1.5
    assert race.ratio(measured, "ours", "limit") == (1.5, 1.0, 2.0)


def test_calls_take_turns_and_the_first_round_is_not_counted():
    order = []
    found = race.race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3 and [len(times) for times in found.values()] == [2, 2]
    race.race({"a": lambda: order.append("c")}, 1, warm=False)
    assert order.count("c") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its record of memory")
def test_memory_is_seen_though_more_was_held_before():
    bytearray(400 << 20)
    held = race.extra(lambda: bytes(bytearray(b"x") * (100 << 20)))
    assert 90 << 20 < held < 350 << 20


@pytest.mark.parametrize(("power", "constant"), [(0, 3.0), (1, 0.1), (2, 5.0)])
def test_the_exponent_of_a_power_is_the_power(power, constant):
    values = {q: constant * q**power for q in (1, 2, 8, 32)}
    assert math.isclose(growth.exponent(values), power, abs_tol=1e-9)


def test_a_promise_that_is_not_kept_is_named_with_the_worst_method_and_row():
    fast = {
        **ROW,
        "labels": 10,
        "ratios": {"ours / limit": [1.25, 1.0, 1.9], "pytorch-grad-cam / ours": [9.0, 8.0, 9.5]},
    }
    held = [{"network": "resnet50", "group": "score_cam", "MiB": 401.0}]
    for rows, count in (([ROW, fast], "1 of 2"), ([ROW], "0 of 1")):
        limit, other, memory = (" ".join(line.split()) for line in bench.verdicts(rows, held))
        worst = "worst 1.30 (squeezenet1_0, images 1, labels 3)"
        assert limit == f"cams ours / limit at most 1.25 NOT KEPT: {count} rows keep it; {worst}"
        # Against others, rows of three labels count alone.
        worst = worst.replace("1.30", "10.00")
        assert other == f"cams pytorch-grad-cam / ours at least 10.0 kept : 1 of 1 rows keep it; {worst}"
        assert memory == "score_cam extra memory at most 400 MiB NOT KEPT 401 MiB"


@pytest.fixture
def staged(tmp_path):
    for name in ("assets", "data/results/bench", "data/results/gpu"):
        (tmp_path / name).mkdir(parents=True)
    origin = {
        "git": "3c2bfa9fcf",
        "versions": {"torch": "2.15.0"},
        "device": "a machine",
        "wall_s": 60,
        "threads": 2,
    }
    rows = [ROW, {**ROW, "batch": 16}, {**ROW, "labels": 10}]
    held = [{"network": "wide", "group": "score_cam", "who": "ours", "channels": k, "MiB": 90.0} for k in (8, 16)]
    record = origin | {"samples": True, "contract": ["cams kept"], "times": rows, "memory": held}
    (tmp_path / "data/results/bench/cpu-x.json").write_text(json.dumps(record))
    engine = {"runs": 9, "seconds per run": 1.26, "seconds of a batch of one": 6, "seconds of a finished batch": 3}
    (tmp_path / "data/results/bench/engine.json").write_text(json.dumps(origin | engine))
    frozen = {"network": "narrow", "images": 8, "epochs": 30, "heads": 4, "ratio of one head": 42.3}
    (tmp_path / "data/results/bench/frozen.json").write_text(
        json.dumps(origin | frozen | {"ratio of all heads": 150.6})
    )
    return tmp_path


def test_the_page_shows_every_row_with_its_worst_ratio_and_draws_the_curves(staged):
    text = speed_page.speed_part(staged).replace("\\", "")  # before what Markdown would read as markup
    assert text.count("1.30 [1.00, 1.40]") == 3 and text.count("10.00 [9.00, 11.00]") == 3
    assert "Grad-CAM, squeezenet1_0, 16 images of 224 px, 3 labels" in text and speed_page.NO_GPU in text
    assert "A run that does nothing takes 1.3 s" in text
    assert "8 images and 30 epochs that is 42 times as fast" in text and "151 times for 4 heads" in text
    drawn = {path.name for path in (staged / "assets").iterdir()}
    assert drawn == {f"speed-{what}-cpu-x.png" for what in ("cams", "batch", "memory")}


def test_curves_are_over_the_limit_of_the_first_point():
    rows = [ROW, {**ROW, "labels": 10, "seconds": {"ours": 3.0, "limit": 4.0}}]
    table = speed_page._curves(rows, "labels").set_index(["method", "at"])["value"]
    expected = {
        ("ours", 3): 1.1,
        ("ours", 10): 1.5,
        ("pytorch-grad-cam", 3): 11.0,
        ("limit", 3): 1,
        ("limit", 10): 2,
    }
    pd.testing.assert_series_equal(table.sort_index(), pd.Series(expected).sort_index(), check_names=False)


def test_the_gpus_command_runs_and_its_record_fits_the_page(staged):
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--tiny", "--no-store"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    parts = {}
    for line in done.stdout.splitlines():
        name, value = line.split(": ", 1)
        parts[name.rsplit(" (", 1)[0]] = json.loads(value)
    assert max(parts["maps, largest difference from the CPU's"].values()) < 1e-4
    assert 0 < parts["bfloat16"]["largest difference"] < 0.2
    origin = {"command": "python benchmarks/gpu.py", "device": "a GPU", "git": "3c2b", "versions": {}}
    (staged / "data/results/gpu/x.json").write_text(json.dumps(origin | parts))
    text = speed_page.speed_part(staged)
    assert "hours for 2,510 images" in text and "score-cam / forwards" in text and speed_page.NO_GPU not in text


def test_other_libraries_are_told_of_the_map_that_we_read_in_a_transformer():
    b = workloads.bench(workloads.DEIT, 1, 1, workloads.SIDE, None)
    seen = []
    with_hook = b.layer.register_forward_hook(lambda _layer, _given, out: seen.append(out.detach()))
    read = capture(b.net, b.images, b.layer).activations
    with_hook.remove()
    assert read.shape[-2:] == (14, 14) and read.equal(b.folding["reshape_transform"](seen[0]))
    assert workloads.bench("squeezenet1_0", 1, 1, 64, None).folding == {}


def test_groups_that_are_not_measured_stay_as_they_are_stored_with_their_revision():
    old = [ROW, ROW | {"group": "ss_cam"}, ROW | {"group": "evaluation", "git": "0ld"}]
    stored = {"git": "st0red", "times": old, "memory": ["held"]}
    new = [ROW | {"group": "ss_cam", "git": "new"}]
    rows, held = bench.completed(stored, ["ss_cam"], new, [])
    assert [(row["group"], row["git"]) for row in rows] == [
        ("cams", "st0red"), ("ss_cam", "new"), ("evaluation", "0ld")
    ]  # fmt: skip
    assert held == ["held"] and bench.completed(stored, ["memory"], [], [1])[1] == [1]
    told = speed_page._revisions({"git": "st0red", "times": rows})
    assert told == "revision st0red (Grad-CAM) and revision new (SS-CAM) and revision 0ld (evaluation, 4 methods)"
    assert speed_page._revisions({"git": "one", "times": [ROW]}) == "revision one"


def test_batches_are_told_over_the_best_size_without_the_settings():
    rows = [
        {"network": "resnet50", "batch": 4, "ms": 20.0, "ms kept": 19.0, "ratios": [1.0, 1.05, 1.1]},
        {"network": "resnet50", "batch": 32, "ms": 50.0, "ms kept": 18.0, "ratios": [2.5, 2.75, 3.0]},
    ]
    record = {"rows": rows, "side": 224, "settings": KEEPING, "device": "a processor"}
    _, text, settings, table = batches_part.batches_part(record)
    assert "[resnet50]{.value} is fastest at 4, and in batches of 32 takes 2.5 times as long" in text
    assert "with the settings 0.9" in text and "export MALLOC_MMAP_THRESHOLD_=1073741824" in settings
    assert "| [resnet50]{.value} | 32 | 2.50 | 0.90 | 2.75 [2.50, 3.00] |" in table


def test_only_the_processes_that_are_to_keep_have_the_settings(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "7")  # of the caller: neither kind is to have it
    given = []

    def run(_command, *, env, **_):
        given.append({name: env.get(name) for name in KEEPING})
        return subprocess.CompletedProcess([], 0, stdout='{"4": 1.5}')

    monkeypatch.setattr(batches.subprocess, "run", run)
    assert [batches.measured("resnet50", 1, keeping) for keeping in (False, True)] == [{4: 1.5}] * 2
    assert given == [dict.fromkeys(KEEPING), KEEPING]


def test_every_batch_size_is_measured(monkeypatch):
    monkeypatch.setattr(batches, "BATCHES", (1, 2))
    found = batches.milliseconds("squeezenet1_0", 1)
    assert list(found) == [1, 2] and min(found.values()) > 0
