"""One network for each pair of six classes on photographs: Meng et al.'s own mode, against one network for all."""

import argparse
from pathlib import Path

import torch

from workflow.studies import pair_network_training as training


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder that holds VOCdevkit/")
    parser.add_argument("--threads", type=int, help="of the processor (default: torch's own number)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = training.Settings()
    training.trained(training.loader(options.data, settings)("train"), settings)


if __name__ == "__main__":
    main()
