"""One binary network per pair of classes (Meng et al., Sec. 4.2), trained so that many pairs are affordable.

All pairs share the decoded images. On a GPU several networks train at once, stacked by `torch.func`; every pair
has its own random numbers, so neither the stack nor an interruption changes what a pair learns. A finished pair is
a file: a later call goes on with the first pair that has none.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.utils.data import Dataset
from tqdm import tqdm

from cam_utils import files
from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.files import fingerprint, lock
from cam_utils.names import check_known
from cam_utils.networks.augmentation import AUGMENTATIONS
from cam_utils.networks.models import Classifier, LinearHead, load_checkpoint, save_checkpoint

Pair = tuple[int, int]
MOST_STACKED = 32  # of the first try on a GPU; halved while memory does not suffice


@dataclass(frozen=True)
class PairSchedule:
    """The paper's recipe: Adam's rate, batch, and the two stopping rules (training accuracy in [0, 1], epochs)."""

    lr: float = 1e-4
    batch_size: int = 24
    accuracy: float = 0.95
    epochs: int = 10
    augment: str = "flip"


class TrainedNetworks:
    """The trained networks of a folder: `networks(c, s)` with c < s loads one, whose logits are (c, s).

    Of those loaded as many are kept as fit in `budget` bytes; the one loaded first goes first.
    """

    def __init__(self, folder: Path, classes: Sequence[str], identity: str, budget: int = 2 << 30) -> None:
        self.folder, self.classes, self.identity, self.budget = folder, list(classes), identity, budget
        self._loaded: dict[Pair, Classifier] = {}

    def path(self, c: int, s: int) -> Path:
        """Return where the network of the pair lies, or will lie."""
        return self.folder / f"{c:03d}-{s:03d}.pt"

    def __call__(self, c: int, s: int) -> Classifier:
        if (c, s) not in self._loaded:
            size = self.path(c, s).stat().st_size
            while self._loaded and (len(self._loaded) + 1) * size > self.budget:  # 190 ResNets do not fit in memory
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[c, s] = load_checkpoint(self.path(c, s), [self.classes[c], self.classes[s]])
        return self._loaded[c, s]


def train_pairs(
    start: Classifier,
    dataset: Dataset,
    pairs: Sequence[Pair],
    *,
    network: str,
    schedule: PairSchedule = PairSchedule(),
    seed: int = 0,
    device: str = "cpu",
    stack: int | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> TrainedNetworks:
    """Train a binary network for every pair (c, s), c < s, of `dataset.classes`, and return them all.

    start: the network whose features every pair starts from (the paper: ImageNet's); heads start afresh.
    dataset: images with exactly one label (:class:`cam_utils.data.single.SingleLabel`).
    network: the name under which :func:`cam_utils.networks.models.build` makes `start`.
    stack: pairs trained at once; None: one on a CPU, as many as memory allows on a GPU.
    folder: where the networks lie; None: the cache, under a digest of all that determines them.

    Raises ValueError for a pair that is not c < s, and for images with several labels; RuntimeError if a loss is
    not finite.
    """
    _check(dataset, pairs, schedule)
    identity = fingerprint(
        *start.features.state_dict().values(), dataset.fingerprint(), network, asdict(schedule), seed
    )
    target = files.cache() / "pairs" / f"{dataset.name}-{network}-{identity}" if folder is None else Path(folder)
    found = TrainedNetworks(target, dataset.classes, identity)
    size = stack or (MOST_STACKED if device.startswith("cuda") else 1)
    # Runs of one network on several splits share its pairs: who comes second finds them trained.
    with lock(files.cache() / "locks" / f"pairs-{target.name}.lock"):
        todo = [pair for pair in dict.fromkeys(map(tuple, pairs)) if not found.path(*pair).exists()]
        trained = _fit_all(start, PixelsAndLabels(dataset), todo, schedule, seed, device, size)
        shown = {} if progress else {"disable": True}
        for pair, model, facts in tqdm(trained, "pairs", len(pairs), initial=len(pairs) - len(todo), **shown):
            facts |= {"classes": [dataset.classes[k] for k in pair]}
            save_checkpoint(found.path(*pair), model, name=network, head="linear", **facts)
    return found


def _check(dataset: Dataset, pairs: Sequence[Pair], schedule: PairSchedule) -> None:
    """Raise ValueError for what `train_pairs` cannot train."""
    check_known("augmentation", schedule.augment, AUGMENTATIONS)
    if bool((dataset.labels.sum(1) != 1).any()):
        raise ValueError("expected images with exactly one label each: an image of both classes says nothing")
    count = len(dataset.classes)
    for c, s in pairs:
        if not 0 <= c < s < count:
            raise ValueError(f"expected pairs (c, s) with 0 <= c < s < {count}, got ({c}, {s})")


def _fit_all(
    start: Classifier, images: PixelsAndLabels, pairs: list[Pair], schedule: PairSchedule, seed: int, device: str,
    size: int,
) -> Iterator[tuple[Pair, Classifier, dict]]:  # fmt: skip
    """Train `size` pairs at once, fewer where memory does not suffice, and yield (pair, network, facts)."""
    todo = list(pairs)
    while todo:
        size = min(size, len(todo))
        try:
            for found in _fit(start, images, todo[:size], schedule, seed, device):
                todo.remove(found[0])
                yield found
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size //= 2


@dataclass
class _Training:
    """The state of one pair's training: its images in the order of the epoch, and how the epoch goes."""

    pair: Pair
    rows: Tensor
    generator: torch.Generator
    order: Tensor
    epoch: int = 0
    step: int = 0
    correct: int = 0

    def shuffle(self, batch_size: int) -> None:
        """Start an epoch; its last batch is filled up with images drawn again, so that all batches are full."""
        order = self.rows[torch.randperm(len(self.rows), generator=self.generator)]
        missing = -len(order) % batch_size
        again = torch.randint(0, len(self.rows), (missing,), generator=self.generator)
        self.order, self.step, self.correct = torch.cat([order, self.rows[again]]), 0, 0

    def batch(self, images: PixelsAndLabels, target: Tensor, schedule: PairSchedule) -> tuple[Tensor, Tensor]:
        """Return the step's augmented images [b, 3, h, w] and, for each, which of the two classes it has [b]."""
        first = self.step * schedule.batch_size
        rows = self.order[first : first + schedule.batch_size]
        pixels = images.pixels(rows).float() / 255
        return AUGMENTATIONS[schedule.augment](pixels, self.generator), (target[rows] == self.pair[1]).long()

    def advance(self, correct: int, batch_size: int) -> bool:
        """Count a step and return whether the epoch is over."""
        self.step, self.correct = self.step + 1, self.correct + correct
        return self.step * batch_size >= len(self.order)


def _fit(
    start: Classifier,
    images: PixelsAndLabels,
    pairs: Sequence[Pair],
    schedule: PairSchedule,
    seed: int,
    device: str,
) -> Iterator[tuple[Pair, Classifier, dict]]:
    """Train the stack of `pairs` and yield (pair, network, facts) as each meets a stopping rule."""
    target = images.dataset.labels.argmax(1)
    states = [_begin(target, pair, seed, schedule.batch_size) for pair in pairs]
    networks = [_fresh(start, pair, seed).to(device).train() for pair in pairs]
    template = networks[0]
    parameters, buffers = stack_module_state(networks)
    del networks
    optimizer = torch.optim.Adam(parameters.values(), lr=schedule.lr)
    while states:
        batches = [state.batch(images, target, schedule) for state in states]
        x, y = (torch.stack(each).to(device) for each in zip(*batches, strict=True))  # [M, b, 3, h, w], [M, b]
        logits = _forward(template, parameters, buffers, x)  # [M, b, 2]
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(len(states), -1).mean(1)
        if not bool(losses.isfinite().all()):
            raise RuntimeError(f"the loss of a pair is not finite: lower the rate {schedule.lr}")
        optimizer.zero_grad()
        losses.sum().backward()  # the networks share nothing: each gets its own gradient
        optimizer.step()
        done = []
        for k, correct in enumerate((logits.argmax(2) == y).sum(1).tolist()):
            state = states[k]
            if not state.advance(correct, schedule.batch_size):
                continue
            state.epoch, accuracy = state.epoch + 1, state.correct / len(state.order)
            if accuracy > schedule.accuracy or state.epoch >= schedule.epochs:
                done.append(k)
                model = copy.deepcopy(template)
                model.load_state_dict({name: v[k].detach() for name, v in (parameters | buffers).items()})
                yield state.pair, model.cpu().eval(), {"epochs": state.epoch, "accuracy": accuracy}
            else:
                state.shuffle(schedule.batch_size)
        if done:
            kept = [k for k in range(len(states)) if k not in done]
            states = [states[k] for k in kept]
            parameters, buffers = _shrink(optimizer, parameters, kept), {n: b[kept] for n, b in buffers.items()}


def _begin(target: Tensor, pair: Pair, seed: int, batch_size: int) -> _Training:
    rows = ((target == pair[0]) | (target == pair[1])).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(int(fingerprint(seed, pair), 16) % (1 << 62))
    state = _Training(pair, rows, generator, rows)
    state.shuffle(batch_size)
    return state


def _fresh(start: Classifier, pair: Pair, seed: int) -> Classifier:
    """Return a copy of `start` with a new head of two logits, whose values depend on the pair and the seed."""
    model = copy.deepcopy(start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(fingerprint("head", seed, pair), 16) % (1 << 62))
        model.head = LinearHead(start.head.in_features, 2).to(start.head.weight)
    return model.requires_grad_(True)


def _forward(template: Classifier, parameters: dict, buffers: dict, x: Tensor) -> Tensor:
    """Return logits [M, B, 2] of M stacked networks; one alone runs as itself, several vectorised."""

    def one(parameters: dict, buffers: dict, x: Tensor) -> Tensor:
        return functional_call(template, (parameters, buffers), (template.preprocess(x),))

    if len(x) == 1:
        return one(*({name: v[0] for name, v in part.items()} for part in (parameters, buffers)), x[0])[None]
    return torch.vmap(one, randomness="different")(parameters, buffers, x)


def _shrink(optimizer: torch.optim.Adam, parameters: dict[str, Tensor], kept: list[int]) -> dict[str, Tensor]:
    """Return the parameters of the networks that go on, and take the others out of the optimiser's state."""
    smaller = {name: p.detach()[kept].requires_grad_(True) for name, p in parameters.items()}
    for name, p in parameters.items():
        state = optimizer.state.pop(p)
        optimizer.state[smaller[name]] = {key: v[kept] if v.dim() else v for key, v in state.items()}
    optimizer.param_groups[0]["params"] = list(smaller.values())
    return smaller
