"""Calls timed in turn in one process, and the memory that one call takes."""

import ctypes
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


def race(calls: Calls, repeats: int, *, warm: bool = True) -> dict[str, list[float]]:
    """Return the times of all calls, interleaved A B C A B C: what else the machine does slows all of them alike.

    With `warm` one round before is not counted; calls of several seconds need none.
    """
    measured: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(repeats + warm):
        for name, call in calls.items():
            spent = seconds(call)
            if i >= warm:
                measured[name].append(spent)
    return measured


def ratio(measured: dict[str, list[float]], above: str, below: str) -> tuple[float, float, float]:
    """Return the median, the least and the largest of the ratios within each round."""
    each = sorted(a / b for a, b in zip(measured[above], measured[below], strict=True))
    return statistics.median(each), each[0], each[-1]


def memory(script: Path, *arguments: str) -> int:
    """Return the bytes that `script --memory ARGUMENTS...` prints, run in a process of its own."""
    done = subprocess.run([sys.executable, str(script), "--memory", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script.name} --memory {' '.join(arguments)} failed: {done.stderr[-500:]}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def extra(call: Callable[[], object]) -> int:
    """Return by how many bytes `call` raises the process's memory above what it holds before.

    On Linux the system's record of the peak is reset first, so that what ran before does not hide the call.
    """
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else freed memory, still counted, would serve the call
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        return _status("VmHWM") - before
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        return scale * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
