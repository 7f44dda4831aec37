"""The networks of pairs of classes that lie in a folder, loaded when they are asked for."""

from collections.abc import Sequence
from pathlib import Path

from cam_utils.networks.models import Classifier, load_checkpoint

Pair = tuple[int, ...]  # two classes, or all classes of a larger group; they rise


class TrainedNetworks:
    """The trained networks of a folder: `networks(c, s)` with c < s loads one, whose logits are (c, s).

    They are those of the stopping rule; :meth:`at` has those of a snapshot. Of those loaded as many are kept as fit
    in `budget` bytes; the one loaded first goes first.
    """

    def __init__(
        self, folder: Path, classes: Sequence[str], identity: str, budget: int = 2 << 30, epoch: int | None = None
    ) -> None:
        self.folder, self.classes, self.identity, self.budget = folder, list(classes), identity, budget
        self.epoch = epoch
        self._loaded: dict[Pair, Classifier] = {}

    def at(self, epoch: int | None) -> "TrainedNetworks":
        """Return the networks as they were after so many epochs, None: at the stopping rule."""
        identity = self.identity.split(",")[0] + ("" if epoch is None else f", epoch {epoch}")
        return TrainedNetworks(self.folder, self.classes, identity, self.budget, epoch)

    def path(self, *pair: int) -> Path:
        """Return where the network of the pair lies, or will lie."""
        snapshot = "" if self.epoch is None else f"-epoch{self.epoch:02d}"
        return self.folder / f"{'-'.join(f'{k:03d}' for k in pair)}{snapshot}.pt"

    def __call__(self, *pair: int) -> Classifier:
        if pair not in self._loaded:
            size = self.path(*pair).stat().st_size
            while self._loaded and (len(self._loaded) + 1) * size > self.budget:  # 190 ResNets do not fit in memory
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[pair] = load_checkpoint(self.path(*pair), [self.classes[k] for k in pair])
        return self._loaded[pair]
