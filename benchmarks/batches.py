"""What an image costs in batches of several sizes on a processor, and the allocator's part in it: make bench.

The early layers of a network make tensors of tens of megabytes. Above 32 MB glibc (Linux) maps each anew and gives
it back after use, so that every layer of every forward pays for fresh pages. Two variables of the environment make
it keep them. Processes with and without these take turns; each runs all batch sizes in turn. Writes
data/results/bench/batches.json.

    python benchmarks/batches.py
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

import torch
import workloads
from race import race

from cam_utils import files, runs
from cam_utils.networks import models
from workflow.batch.memory import KEEPING

NETWORKS = ("squeezenet1_0", "efficientnet_lite0", "resnet50")
BATCHES = (1, 2, 4, 8, 16, 32)
SIDE = 224


def milliseconds(network: str, repeats: int) -> dict[int, float]:
    """Return what an image costs by batch size: medians of bare forwards in this process, channels last."""
    net = models.pretrained(network, None).net.eval()
    torch.manual_seed(0)
    made = {count: torch.rand(count, 3, SIDE, SIDE) for count in BATCHES}
    calls = {count: workloads.forward(net, images, (torch.channels_last,)) for count, images in made.items()}
    return {count: 1000 * statistics.median(spent) / count for count, spent in race(calls, repeats).items()}


def measured(network: str, repeats: int, keeping: bool) -> dict[int, float]:
    """Return :func:`milliseconds` of a process of its own, whose allocator keeps what is freed or does not."""
    settings = {name: value for name, value in os.environ.items() if name not in KEEPING}
    command = [sys.executable, __file__, "--measure", network, "--repeats", str(repeats)]
    done = subprocess.run(
        command, env=settings | (KEEPING if keeping else {}), capture_output=True, text=True, check=True
    )
    return {int(count): each for count, each in json.loads(done.stdout).items()}


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    parser.add_argument("--measure", choices=NETWORKS, help="one network in this process, as JSON")
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(milliseconds(options.measure, options.repeats)))
        return
    record = {"command": "python benchmarks/batches.py", **runs.provenance(), "side": SIDE, "settings": KEEPING}
    rows = []
    for network in NETWORKS:
        rounds = [
            [measured(network, options.repeats, keeping) for keeping in (False, True)]
            for _ in range(options.rounds)
        ]
        for count in BATCHES:
            plain, kept = (statistics.median(each[way][count] for each in rounds) for way in (0, 1))
            ratios = sorted(each[0][count] / each[1][count] for each in rounds)
            rows.append({"network": network, "batch": count, "ms": plain, "ms kept": kept, "ratios": ratios})
            print(f"{network:20} {count:3} {plain:7.2f} {kept:7.2f}  {ratios}", flush=True)
    if not options.no_store:
        target = files.DATA / "results" / "bench" / "batches.json"
        target.write_text(json.dumps(record | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
