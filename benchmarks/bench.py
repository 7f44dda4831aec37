"""Speed and memory of the methods against other libraries and against bare forwards, in one run: make bench.

All calls of a row take turns in one process, and ratios are those within a round, so that what else the machine
does touches all alike. Prints a table, and writes data/results/bench/<device>.json for the book's page.

    python benchmarks/bench.py --samples ../shared
"""

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
import workloads
from race import extra, memory, race, ratio

from cam_utils import files, runs
from cam_utils.evaluation import bootstrap

# Who must be how fast: ours over the limit at most, and others over ours at least (3 labels).
CONTRACT = {
    "cams": {"limit": 1.25, "pytorch-grad-cam": 10.0},
    "score_cam": {"limit": 1.10, "pytorch-grad-cam": 6.0},
    "ss_cam": {"limit": 1.15},
    "evaluation": {"limit": 1.15},
}
EXTRA_MIB = 400  # that the Score family may add for a ResNet-50 at 224 px
GROUPS = (*CONTRACT, "ablation_cam", "memory")
SCORE_FAMILY = ("score_cam", "ss_cam")
CHANNELS = (128, 512, 2048)
MIB = 2**20


class Row(NamedTuple):
    """What is measured: network, images per batch, labels per image, side in pixels, and how often."""

    group: str
    network: str
    batch: int
    labels: int
    size: int
    repeats: int = 5
    warm: bool = True


def plan(quick: bool) -> list[Row]:
    """Return the rows; the Score family, hundreds of forwards per image, gets small images and fewer rounds."""
    rows = []
    for network in ("squeezenet1_0", "efficientnet_lite0", "resnet50", "deit_tiny"):
        for labels in (1, 3, 10):
            rows += [Row("cams", network, 1, labels, 224, 15), Row("cams", network, 16, labels, 224, 3)]
    rows += [Row("score_cam", "squeezenet1_0", 1, labels, 96, 3, False) for labels in (1, 3, 10)]
    rows += [Row("score_cam", "squeezenet1_0", 1, 3, 224, 3, False)]
    rows += [Row("score_cam", "squeezenet1_0", 16, 1, 64, 2, False)]
    rows += [Row("score_cam", "resnet50", 1, 3, 64, 2, False)]
    rows += [Row("score_cam", "efficientnet_lite0", 1, 3, 96, 3, False)]
    rows += [Row("score_cam", "deit_tiny", 1, 3, 224, 2, False)]
    rows += [Row("ss_cam", "squeezenet1_0", 1, labels, 96, 3, False) for labels in (1, 3, 10)]
    rows += [Row("ablation_cam", "squeezenet1_0", 1, labels, 224, 3) for labels in (1, 3, 10)]
    rows += [Row("evaluation", "resnet18", 16, 1, 96)]
    if quick:
        rows = [row._replace(repeats=3) for row in rows if row.labels == 3 and row.batch == 1 and row.size != 64]
    return rows


def calls_of(row: Row, samples: str | None) -> workloads.Calls:
    """Return the calls of one row."""
    if row.group == "evaluation":
        return workloads.evaluation(row.batch)
    return getattr(workloads, row.group)(workloads.bench(row.network, row.batch, row.labels, row.size, samples))


def measure(row: Row, samples: str | None) -> dict:
    """Return the row with its medians in seconds and its ratios (median, least, largest).

    Ratios are ours over the limit, and others over ours (Grad-CAM in the CAM family).
    """
    measured = race(calls_of(row, samples), row.repeats, warm=row.warm)
    ours = [name for name in measured if name.startswith("ours")]
    over = {f"{name} / limit": ratio(measured, name, "limit") for name in ours if "limit" in measured}
    over |= {f"{name} / ours": ratio(measured, name, "ours") for name in measured if name not in (*ours, "limit")}
    found = {name: statistics.median(spent) for name, spent in measured.items()}
    return row._asdict() | {"seconds": found, "ratios": over}


def peaks(samples: str | None) -> list[dict]:
    """Return what one call adds to the memory of a process of its own, in MiB.

    ResNet-50 at 224 px at the default chunk, 96 of its channels (the contract's row), and Score-CAM of a network
    with K channels at 96 px by us and by two libraries.
    """
    asked = [("resnet50", group, "ours", 96) for group in ("cams", *SCORE_FAMILY)]
    asked += [
        ("wide", "score_cam", who, channels)
        for who in ("ours", "pytorch-grad-cam", "torch-cam")
        for channels in CHANNELS
    ]
    rows = []
    for network, group, who, channels in asked:
        found = memory(Path(__file__), network, group, who, str(channels), samples or "")
        rows.append({"network": network, "group": group, "who": who, "channels": channels, "MiB": found / MIB})
        print(f"memory: {group:10} {network:10} {channels:5} channels {who:18} {found / MIB:6.0f} MiB", flush=True)
    return rows


def peak(network: str, group: str, who: str, channels: int, samples: str | None) -> int:
    """Return the bytes that one call adds to this process."""
    if network == "wide":
        made = workloads.wide(channels, 96)
        call = workloads.score_cam(made, chunks=(4,))[who]
    else:
        made = workloads.bench(network, 1, 3, 224, samples)
        call = workloads.cams(made)["ours"] if group == "cams" else workloads.limited(made, group, channels)
    with torch.no_grad():
        made.net(made.images)  # what the network keeps for itself is not the method's
    return extra(call)


def text(row: dict) -> str:
    """Return one line of the table."""
    what = (
        f"{row['group']:14} {row['network']:18} {row['size']:3} px {row['batch']:3} images {row['labels']:3} labels"
    )
    return what + "".join(f" | {name} {bootstrap.text(*found, digits=2)}" for name, found in row["ratios"].items())


def verdicts(rows: list[dict], held: list[dict]) -> list[str]:
    """Return a line for every promise: kept or not, in how many rows, and the worst that was measured."""
    lines = []
    for group, promises in CONTRACT.items():
        for name, bound in promises.items():
            limit = name == "limit"
            worst_first = max if limit else min
            values = [
                (worst_first(found), row)
                for row in rows
                if row["group"] == group and (limit or row["labels"] == 3)
                and (found := [value[0] for key, value in row["ratios"].items()
                               if key.endswith("/ limit" if limit else f"{name} / ours")])
            ]  # fmt: skip
            if values:
                kept = [value <= bound if limit else value >= bound for value, _ in values]
                worst, row = worst_first(values, key=lambda each: each[0])
                what = f"ours / limit at most {bound}" if limit else f"{name} / ours at least {bound}"
                where = f"{row['network']}, images {row['batch']}, labels {row['labels']}"
                told = f"{'kept' if all(kept) else 'NOT KEPT':8}: {sum(kept)} of {len(kept)} rows keep it"
                lines.append(f"{group:11} {what:38} {told}; worst {worst:.2f} ({where})")
    for row in held:
        if row["network"] == "resnet50" and row["group"] in SCORE_FAMILY:
            kept = "kept" if row["MiB"] <= EXTRA_MIB else "NOT KEPT"
            lines.append(
                f"{row['group']:11} {f'extra memory at most {EXTRA_MIB} MiB':38} {kept:8} {row['MiB']:.0f} MiB"
            )
    return lines


def completed(stored: dict, only: Sequence[str], rows: list[dict], held: list[dict]) -> tuple[list, list]:
    """Return the rows and the memory with those of the groups that were not measured, as they are stored.

    A row says at which revision it was measured.
    """
    kept = [{"git": stored["git"]} | row for row in stored["times"] if row["group"] not in only]
    rows = sorted([*kept, *rows], key=lambda row: GROUPS.index(row["group"]))
    return rows, held if "memory" in only else stored["memory"]


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="../shared", help="folder of real images and weights, if it is there")
    parser.add_argument("--quick", action="store_true", help="three labels, one image and few rounds only")
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=GROUPS, help="others stay as they are stored")
    parser.add_argument("--no-store", action="store_true", help="print only")
    parser.add_argument("--memory", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        network, group, who, channels, samples = options.memory
        print(json.dumps(peak(network, group, who, int(channels), samples or None)))
        return
    samples = options.samples if (Path(options.samples) / "weights").is_dir() else None
    started, origin, rows = time.time(), runs.provenance(), []
    for row in plan(options.quick):
        if row.group in options.only:
            rows.append(measure(row, samples) | {"git": origin["git"]})
            print(text(rows[-1]), flush=True)
    held = peaks(samples) if "memory" in options.only else []
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu-{platform.machine()}"
    target = files.DATA / "results" / "bench" / f"{re.sub(r'[^a-z0-9]+', '-', device.lower())}.json"
    if not options.no_store and target.is_file():
        rows, held = completed(json.loads(target.read_text()), options.only, rows, held)
    lines = verdicts(rows, held)
    print("\n".join(lines))
    if not options.no_store:
        target.parent.mkdir(parents=True, exist_ok=True)
        origin["versions"] |= {name: version(name) for name in ("grad-cam", "torchcam")}
        origin |= {"threads": torch.get_num_threads(), "samples": bool(samples)}
        only = "" if set(options.only) == set(GROUPS) else f" --only {' '.join(options.only)}"
        record = {"command": f"python benchmarks/bench.py{only}", **origin, "wall_s": round(time.time() - started)}
        record |= {"contract": lines, "times": rows, "memory": held}
        target.write_text(json.dumps(record, indent=1) + "\n")
        print(f"stored {target.relative_to(files.DATA.parent)}")


if __name__ == "__main__":
    main()
