"""Mutated files of every layout: refused in a sentence, or read as they say; the process survives all of them."""

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_mutated_files_are_refused_in_a_sentence_or_read_rightly():
    command = [sys.executable, "-m", "tests.data.fuzz", "30", "0"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]  # a crash of pycocotools ends it with -11
    tally = json.loads(answer.stdout)
    assert len(tally) == 11 and [found["wrong"] for found in tally.values() if found["wrong"]] == []
    for name, found in tally.items():
        assert found["refused"] > 5 and (found["accepted"] > 0 or name.endswith(".png")), name  # PNG has checksums
