"""Weights that others publish: what lies in the cache of a library is checked by its hash, and never executed.

Libraries check a file when they download it, and read it from their cache unchecked ever after.
"""

import hashlib
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from torch import Tensor

BLOB = re.compile(r"[0-9a-f]{64}")  # how the cache of Hugging Face names a file of weights: by its SHA-256
NAMED = re.compile(r"-([0-9a-f]{8,64})$")  # how torch.hub's files end their names: in the start of it
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".npz")


def digest_of(file: Path) -> str:
    """Return the SHA-256 of the file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def wrong_digest(file: Path) -> str:
    """Return what is wrong with a file whose name ends in the start of its SHA-256, nothing if that fits."""
    expected = file.stem.rsplit("-", 1)[-1]
    found = digest_of(file)[: len(expected)]
    return "" if found == expected else f"its SHA-256 begins with {found}, expected {expected}"


def of_torchvision(builder: str) -> dict[str, Tensor]:
    """Return the state dict of torchvision's IMAGENET1K_V1 weights, which end their names with a hash.

    Raises ConnectionError if it cannot be downloaded, ValueError if what came, or lies in torch.hub's cache, is
    not the file that is published.
    """
    found = torchvision.models.get_model_weights(builder)["IMAGENET1K_V1"]
    check_hub(found.url, "torchvision")
    try:
        return found.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except OSError as error:  # URLError is one
        raise ConnectionError(
            f"the ImageNet weights of {builder} could not be downloaded ({error}); without a network pass "
            f"weights=<path of a torchvision.models.{builder} state dict>, or weights=None for random ones"
        ) from error
    except (RuntimeError, UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the ImageNet weights of {builder} that came are not torchvision's: {reason}") from error


def check_hub(url: str, publisher: str) -> None:
    """Raise ValueError if torch.hub's cache holds something else under the name of what lies at the address."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not os.path.lexists(file) or not NAMED.search(file.stem):
        return
    fault = wrong_digest(file) if file.is_file() else "it is no regular file"
    if fault:
        raise ValueError(
            f"{file} is not the file that {publisher} publishes ({fault}): delete it, and it is downloaded again"
        )


def check_timm(config: object) -> None:
    """Raise ValueError if what timm's cache holds of these weights (a `PretrainedCfg`) is not what was published.

    It reads them from Hugging Face's cache, where the files' names are their hashes, or else from torch.hub's.
    """
    if url := getattr(config, "url", None):
        check_hub(url, "timm")
    name = getattr(config, "hf_hub_id", None)
    if not name:
        return
    try:
        cache = Path(import_module("huggingface_hub.constants").HF_HUB_CACHE)
    except ImportError:  # without it timm downloads from the address
        return
    folder = cache / f"models--{name.split('@')[0].replace('/', '--')}"
    for file in sorted(folder.glob("snapshots/*/*")):
        if file.suffix not in WEIGHTS:
            continue
        blob = file.resolve()
        if file.is_file() and (BLOB.fullmatch(blob.name) or (os.name == "nt" and not file.is_symlink())):
            if not BLOB.fullmatch(blob.name) or digest_of(blob) == blob.name:  # Windows may have no links
                continue
            fault = "its SHA-256 is another than its name in the cache"
        else:
            fault = "it is no link to a file of the cache"
        raise ValueError(f"{file} is not what was published ({fault}): delete {folder}, and it is downloaded again")
