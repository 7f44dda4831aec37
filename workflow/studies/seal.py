r"""Seal results that were written before there were seals: python -m workflow.studies.seal PATH ...

PATH is the folder of a run, whose run.json then vouches for its files as they are now, or a checkpoint (.pt), which
gets a digest. What has a seal and does not fit it is refused: it is damaged, and must be made again.
"""

import argparse
import json
from pathlib import Path

from cam_utils import runs, seals
from cam_utils.networks import weight_files


def seal(path: Path) -> str:
    """Seal a run or a checkpoint, and return what was done; raises ValueError if its own seal does not fit."""
    if path.suffix == ".pt":
        content = weight_files.read(path)
        if weight_files.SEAL in content:
            weight_files.read_own(path)
            return f"{path}: sealed before"
        weight_files.save(path, content)
        return f"{path}: sealed"
    record = json.loads((path / seals.RECORD).read_bytes())
    if seals.has_one((path / seals.RECORD).read_bytes()):
        seals.check_run(path, record)
        return f"{path}: sealed before"
    runs.seal(path, record)
    return f"{path}: sealed, with {len(json.loads((path / seals.RECORD).read_bytes())['files'])} files"


def main() -> None:
    """Seal what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    for path in parser.parse_args().paths:
        print(seal(path), flush=True)


if __name__ == "__main__":
    main()
