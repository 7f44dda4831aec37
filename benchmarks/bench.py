"""Speed and memory of the methods against two other libraries and against bare forwards, in one run: make bench.

All calls of a row take turns in one process, and ratios are those within a round, so that what else the machine
does touches all alike. Prints a table, and writes data/results/bench/<device>.json for the book's page.

    python benchmarks/bench.py --samples ../shared --repeats 3
"""

import argparse
import json
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path

import torch
import workloads
from race import extra, memory, race, ratio

from cam_utils import data, runs

GROUPS = ("cams", "score_cam", "ss_cam", "ablation_cam", "evaluation")
# Who must be how fast: ours over the limit at most, and others over ours at least (3 labels).
CONTRACT = {
    "cams": {"limit": 1.25, "pytorch-grad-cam": 5.0},
    "score_cam": {"limit": 1.15, "pytorch-grad-cam": 3.5},
    "ss_cam": {"limit": 1.15, "torch-cam": 2.5},
    "evaluation": {"limit": 1.2},
}
MIB = 2**20


def plan(quick: bool) -> list[dict]:
    """Return what is measured: group, network, images per batch, labels per image, side in pixels."""
    rows = []
    for network, size in (("squeezenet1_0", 224), ("resnet50", 224)):
        for batch in (1, 16):
            rows += [("cams", network, batch, labels, size) for labels in (1, 3, 10)]
    # The Score family on one image: hundreds of forwards. ResNet-50 has 2,048 channels, so it gets small images.
    rows += [("score_cam", "squeezenet1_0", 1, labels, 224) for labels in (1, 3, 10)]
    rows += [("score_cam", "resnet50", 1, labels, 96) for labels in (1, 3)]
    rows += [("ss_cam", "squeezenet1_0", 1, labels, 224) for labels in (1, 3)]
    rows += [("ablation_cam", "squeezenet1_0", 1, labels, 224) for labels in (1, 3)]
    rows += [("evaluation", "resnet18", 16, 1, 96)]
    if quick:
        rows = [row for row in rows if (row[3] == 3 and row[1] != "resnet50") or row[0] == "evaluation"]
    return [dict(zip(("group", "network", "batch", "labels", "size"), row, strict=True)) for row in rows]


def calls_of(row: dict, samples: str | None) -> workloads.Calls:
    """Return the calls of one row."""
    network = row["network"]
    made = workloads.bench(network, row["batch"], row["labels"], row["size"], samples)
    return getattr(workloads, row["group"])(made)


def measure(row: dict, samples: str | None, repeats: int) -> dict:
    """Return the row with its medians in seconds and its ratios (median, least, largest)."""
    measured = race(calls_of(row, samples), repeats)
    found = {name: sorted(spent)[len(spent) // 2] for name, spent in measured.items()}
    over = {f"ours / {n}": ratio(measured, "ours", n) for n in measured if n == "limit"}
    over |= {f"{n} / ours": ratio(measured, n, "ours") for n in measured if n not in ("ours", "limit")}
    return row | {"seconds": found, "ratios": over}


def peaks(samples: str | None) -> list[dict]:
    """Return the memory that one call adds to a process of its own, in MiB, by method, network and channels."""
    script, rows = Path(__file__), []
    for name, network, labels in (
        ("cams", "resnet50", 3),
        ("score_cam", "resnet50", 3),
        ("score_cam", "squeezenet1_0", 3),
        ("ss_cam", "resnet50", 3),
    ):
        for channels in (64, 128, 256):
            found = memory(script, name, network, str(labels), str(channels), samples or "")
            rows.append(
                {"group": name, "network": network, "labels": labels, "channels": channels, "MiB": found / MIB}
            )
    return rows


def peak(group: str, network: str, labels: int, channels: int, samples: str | None) -> int:
    """Return the bytes one call of ours adds to this process, with so many live channels at 224 px."""
    made = workloads.bench(network, 1, labels, 224, samples)
    call = workloads.cams(made)["ours"] if group == "cams" else workloads.limited(made, group, channels)
    return extra(call, workloads.forward(made.net, made.images, (torch.channels_last,)))


def text(row: dict) -> str:
    """Return one line of the table."""
    what = (
        f"{row['group']:13} {row['network']:14} {row['size']:4} px {row['batch']:3} images {row['labels']:3} labels"
    )
    return what + "".join(
        f"   {name} {middle:.2f} ({low:.2f} to {high:.2f})" for name, (middle, low, high) in row["ratios"].items()
    )


def verdicts(rows: list[dict]) -> list[str]:
    """Return a line for every promise of speed: kept or not, and the worst ratio that was measured."""
    lines = []
    for group, promises in CONTRACT.items():
        for name, bound in promises.items():
            key = f"ours / {name}" if name == "limit" else f"{name} / ours"
            values = [
                row["ratios"][key][0]
                for row in rows
                if row["group"] == group and key in row["ratios"] and (name == "limit" or row["labels"] == 3)
            ]
            if values:
                worst = max(values) if name == "limit" else min(values)
                kept = worst <= bound if name == "limit" else worst >= bound
                sign = "at most" if name == "limit" else "at least"
                lines.append(f"{group:13} {key:24} {sign} {bound}: {worst:.2f}  {'kept' if kept else 'NOT KEPT'}")
    return lines


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="../shared", help="folder of real images and weights, if it is there")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="three labels and one network only")
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=GROUPS)
    parser.add_argument("--no-store", action="store_true", help="print only")
    parser.add_argument("--memory", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        group, network, labels, channels, samples = options.memory
        print(json.dumps(peak(group, network, int(labels), int(channels), samples or None)))
        return
    samples = options.samples if (Path(options.samples) / "weights").is_dir() else None
    started, rows = time.time(), []
    for row in plan(options.quick):
        if row["group"] in options.only:
            rows.append(measure(row, samples, options.repeats))
            print(text(rows[-1]), flush=True)
    held = peaks(samples)
    for row in held:
        print(f"memory: {row['group']:10} {row['network']:14} {row['channels']:4} channels {row['MiB']:6.0f} MiB")
    print("\n".join(verdicts(rows)))
    if not options.no_store:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu-{platform.machine()}"
        target = data.DATA / "results" / "bench" / f"{re.sub(r'[^a-z0-9]+', '-', device.lower())}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        peers = {name: version(name) for name in ("grad-cam", "torchcam")}
        origin = runs.provenance()
        origin["versions"] |= peers
        record = {"command": "make bench", **origin, "threads": torch.get_num_threads(), "repeats": options.repeats,
                  "wall_s": round(time.time() - started), "times": rows, "memory": held}  # fmt: skip
        target.write_text(json.dumps(record, indent=1) + "\n")
        print(f"stored {target.relative_to(data.DATA.parent)}")


if __name__ == "__main__":
    main()
