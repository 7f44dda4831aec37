"""Pooled features of a frozen network, computed once per dataset and kept on disk within a bound."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cam_utils import files
from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.files import code_fingerprint, fingerprint
from cam_utils.networks.models import Classifier, read

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

    The file's name is a digest of the network, the dataset and this package's code. After a new one is written,
    those that were not used for longest are deleted until all fit in `budget` bytes.
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
    if path.exists():
        path.touch()  # the time of the last use
        return read(path)["features"]
    model = model.to(device).eval()
    loader = DataLoader(PixelsAndLabels(dataset, budget=0), batch_size, num_workers=workers)
    quiet = {} if progress else {"disable": True}  # unset, tqdm asks its environment variable
    found = []
    for images, _ in tqdm(loader, desc=f"features of {called}", **quiet):
        x = model.preprocess(images.to(device).float() / 255)
        x = (x.flip(-1) if mirrored else x).contiguous(memory_format=torch.channels_last)  # faster, as in evaluate
        found.append(model.features(x).mean((-2, -1)).cpu())
    features = torch.cat(found)
    with files.written(path) as partial:
        torch.save({"features": features}, partial)
    _evict(target, budget, keep=path)
    return features


def _evict(folder: Path, budget: int, keep: Path) -> None:
    files = sorted(folder.glob("*.pt"), key=lambda file: file.stat().st_mtime)
    total = sum(file.stat().st_size for file in files)
    for file in files:
        if total > budget and file != keep:
            total -= file.stat().st_size
            file.unlink(missing_ok=True)
