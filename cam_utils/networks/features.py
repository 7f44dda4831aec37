"""Pooled features of a frozen network, computed once per dataset and kept on disk within a bound."""

import warnings
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cam_utils import files
from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.files import code_fingerprint, fingerprint
from cam_utils.networks.models import Classifier
from cam_utils.networks.weight_files import read_own, save

BUDGET = 2 << 30  # bytes of all feature files together


@torch.no_grad()
def pooled_features(
    model: Classifier,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    device: str = "cpu",
    workers: int = 0,
    folder: str | Path | None = None,
    budget: int = BUDGET,
    mirrored: bool = False,
    progress: bool = True,
) -> Tensor:
    """Return GAP(features) [N, K] of every image of the dataset, from `folder` (None: the cache) if it is there.

    mirrored: of the images turned left to right.

    The file's name is a digest of the network, the dataset and this package's code. One that is damaged, or was
    changed since it was written, is named in a warning and made again. After a new one is written, those that were
    not used for longest are deleted until all fit in `budget` bytes.
    """
    target = files.cache() / "features" if folder is None else Path(folder)
    key = fingerprint(
        *model.features.state_dict().values(),
        model.mean,
        model.std,
        dataset.fingerprint(),
        code_fingerprint(),
        mirrored,
    )
    called = f"{dataset.name} {dataset.split}{', mirrored' if mirrored else ''}"
    path = target / f"{dataset.name}-{dataset.split}-{key}.pt"
    if (stored := _stored(path, len(dataset))) is not None:
        return stored
    model = model.to(device).eval()
    loader = DataLoader(PixelsAndLabels(dataset, budget=0), batch_size, num_workers=workers)
    quiet = {} if progress else {"disable": True}  # unset, tqdm asks its environment variable
    found = []
    for images, _ in tqdm(loader, desc=f"features of {called}", **quiet):
        x = model.preprocess(images.to(device).float() / 255)
        x = (x.flip(-1) if mirrored else x).contiguous(memory_format=torch.channels_last)  # faster, as in evaluate
        found.append(model.features(x).mean((-2, -1)).cpu())
    features = torch.cat(found)
    save(path, {"features": features})
    _evict(target, budget, keep=path)
    return features


def _stored(path: Path, images: int) -> Tensor | None:
    """Return the features in a file, None without one that is as it was written."""
    try:
        found = read_own(path, sealed=True).get("features")
        path.touch()  # the time of the last use
    except FileNotFoundError:  # deleted by another process, perhaps
        return None
    except (ValueError, IsADirectoryError) as error:
        warnings.warn(f"{error}; these features are computed again", stacklevel=2)
        return None
    if isinstance(found, Tensor) and found.dim() == 2 and len(found) == images:
        return found
    warnings.warn(f"{path} holds no features of {images} images; these features are computed again", stacklevel=2)
    return None


def _evict(folder: Path, budget: int, keep: Path) -> None:
    files = []
    for file in folder.glob("*.pt"):
        with suppress(FileNotFoundError):  # deleted by another process
            files.append((file.stat().st_mtime, file.stat().st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total > budget and file != keep:
            total -= size
            file.unlink(missing_ok=True)
