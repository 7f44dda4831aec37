"""Calls timed in turn in one process, and the memory of one call in a process of its own."""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

Calls = dict[str, Callable[[], object]]


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes, on a GPU until its work is done."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def race(calls: Calls, repeats: int) -> dict[str, list[float]]:
    """Return the times of all calls, interleaved A B C A B C: what else the machine does slows all of them alike.

    One round before is not counted.
    """
    measured: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(repeats + 1):
        for name, call in calls.items():
            spent = seconds(call)
            if i:
                measured[name].append(spent)
    return measured


def ratio(measured: dict[str, list[float]], above: str, below: str) -> tuple[float, float, float]:
    """Return the median, the least and the largest of the ratios within each round."""
    each = sorted(a / b for a, b in zip(measured[above], measured[below], strict=True))
    return statistics.median(each), each[0], each[-1]


def peak_bytes() -> int:
    """Return the most memory this process has held so far."""
    scale = 1 if sys.platform == "darwin" else 1024
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory(script: Path, *arguments: str) -> int:
    """Return the bytes that `script --memory ARGUMENTS...` prints, run in a process of its own."""
    done = subprocess.run([sys.executable, str(script), "--memory", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script.name} --memory {' '.join(arguments)} failed: {done.stderr[-500:]}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def extra(call: Callable[[], object], before: Callable[[], object]) -> int:
    """Return by how many bytes `call` raises this process's peak above that of `before`."""
    before()
    floor = peak_bytes()
    call()
    return peak_bytes() - floor
