"""One binary network per pair of classes (Meng et al., Sec. 4.2), trained so that many pairs are affordable.

All pairs share the decoded images. On a GPU several networks train at once, stacked by `torch.func`; every pair
has its own random numbers, so neither the stack nor an interruption changes what a pair learns. A finished pair is
a file, and one more for every snapshot: a later call goes on with the first pair that lacks one.

A larger group of classes trains alike, on the images of all its pairs: the network that pairs are compared with.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
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
from cam_utils.networks.models import Classifier, LinearHead, save_checkpoint
from cam_utils.representative.trained_networks import Pair, TrainedNetworks

Snapshots = dict[int | None, tuple[Classifier, dict]]  # after an epoch, or (None) at the stopping rule; with facts
MOST_STACKED = 32  # of the first try on a GPU; halved while memory does not suffice


@dataclass(frozen=True)
class PairSchedule:
    """The paper's recipe: Adam's rate, batch, and the two stopping rules (training accuracy in [0, 1], epochs)."""

    lr: float = 1e-4
    batch_size: int = 24
    accuracy: float = 0.95
    epochs: int = 10
    augment: str = "flip"


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
    several: bool = False,
    most: int | None = None,
    snapshots: Sequence[int] = (),
    channels_last: bool = False,
    progress: bool = True,
) -> TrainedNetworks:
    """Train a binary network for every pair (c, s), c < s, of `dataset.classes`, and return them all.

    start: the network whose features every pair starts from (the paper: ImageNet's); heads start afresh.
    dataset: images with exactly one label (:class:`cam_utils.data.single.SingleLabel`), or with `several` any: see
    :func:`training_rows`, also for `most`. A pair of more than two classes is one network for all of them, whose
    targets are equal shares of an image's labels.
    network: the name under which :func:`cam_utils.networks.models.build` makes `start`.
    stack: pairs trained at once; None: one on a CPU, as many as memory allows on a GPU.
    folder: where the networks lie; None: the cache, under a digest of all that determines them.
    snapshots: epochs after which networks are kept besides, for which training goes on beyond the stopping rule.
    channels_last: the images' order in memory, which a CPU may be twice as fast in; it changes rounding.

    Raises ValueError for a pair that is not c < s, for images with several labels, and for a class of a pair
    without an image; RuntimeError if a loss is not finite.
    """
    _check(dataset, pairs, schedule, several)
    extras = {"several": several, "most": most, "snapshots": sorted(snapshots)}
    changed = [extras] if several or most or snapshots else []  # what was trained before these options is found
    identity = fingerprint(
        *start.features.state_dict().values(), dataset.fingerprint(), network, asdict(schedule), seed, *changed
    )
    target = files.cache() / "pairs" / f"{dataset.name}-{network}-{identity}" if folder is None else Path(folder)
    found = TrainedNetworks(target, dataset.classes, identity)
    wanted = [found.at(epoch) for epoch in (*snapshots, None)]
    size = stack or (MOST_STACKED if device.startswith("cuda") else 1)
    # Runs of one network on several splits share its pairs: who comes second finds them trained.
    with lock(files.cache() / "locks" / f"pairs-{target.name}.lock"):
        todo = [p for p in dict.fromkeys(map(tuple, pairs)) if not all(each.path(*p).exists() for each in wanted)]
        images, rows = PixelsAndLabels(dataset), {p: training_rows(dataset.labels, p, most, seed) for p in todo}
        plan = _Plan(images, rows, schedule, seed, device, tuple(snapshots), channels_last)
        shown = {} if progress else {"disable": True}
        trained = _fit_all(start, plan, todo, size)
        for pair, kept in tqdm(trained, "pairs", len(pairs), initial=len(pairs) - len(todo), **shown):
            for epoch, (model, facts) in kept.items():
                facts |= {"classes": [dataset.classes[k] for k in pair]}
                save_checkpoint(found.at(epoch).path(*pair), model, name=network, head="linear", **facts)
    return found


def training_rows(labels: Tensor, pair: Pair, most: int | None = None, seed: int = 0) -> Tensor:
    """Return the rows of `labels` [N, n] that a pair trains on: images that show exactly one of its two classes.

    most: of each of the two classes, the first so many in an order of all images that the seed draws. Of a larger
    group of classes it is the rows of all its pairs. Raises ValueError for a class of a pair without an image.

    >>> labels = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 1, 1]])
    >>> training_rows(labels, (0, 1)).tolist(), training_rows(labels, (0, 1, 2)).tolist()
    ([0, 2], [0, 1, 2])
    """
    if len(pair) > 2:
        return torch.cat([training_rows(labels, two, most, seed) for two in combinations(pair, 2)]).unique()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    one = labels[order][:, pair] > 0
    drawn = [order[one[:, k] & ~one[:, 1 - k]][:most] for k in (0, 1)]
    for k, rows in zip(pair, drawn, strict=True):
        if not len(rows):
            raise ValueError(f"no image shows class {k} of the pair {pair} without the other")
    return torch.cat(drawn).sort().values


def _check(dataset: Dataset, pairs: Sequence[Pair], schedule: PairSchedule, several: bool) -> None:
    """Raise ValueError for what `train_pairs` cannot train."""
    check_known("augmentation", schedule.augment, AUGMENTATIONS)
    if not several and bool((dataset.labels.sum(1) != 1).any()):
        raise ValueError("expected images with exactly one label each: an image of both classes says nothing")
    count = len(dataset.classes)
    for pair in pairs:
        if len(pair) < 2 or sorted({*pair}) != [*pair] or not 0 <= pair[0] <= pair[-1] < count:
            raise ValueError(f"expected pairs (c, s) with 0 <= c < s < {count}, got {tuple(pair)}")


@dataclass(frozen=True)
class _Plan:
    """What all pairs' trainings share; `rows` of every pair."""

    images: PixelsAndLabels
    rows: dict[Pair, Tensor]
    schedule: PairSchedule
    seed: int
    device: str
    snapshots: tuple[int, ...] = ()
    channels_last: bool = False


def _fit_all(start: Classifier, plan: _Plan, pairs: list[Pair], size: int) -> Iterator[tuple[Pair, Snapshots]]:
    """Train `size` pairs at once, fewer where memory does not suffice, and yield (pair, its networks)."""
    todo = list(pairs)
    while todo:
        alike = [pair for pair in todo if len(pair) == len(todo[0])]  # as many logits
        size = min(size, len(todo))
        try:
            for found in _fit(start, plan, alike[:size]):
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
    targets: Tensor  # of all images: [N] the logit that is right, [N, n] equal shares where an image has several
    generator: torch.Generator
    order: Tensor
    step: int = 0
    correct: int = 0
    accuracies: list[float] = field(default_factory=list)  # of the epochs that are over
    kept: Snapshots = field(default_factory=dict)

    def shuffle(self, batch_size: int) -> None:
        """Start an epoch; its last batch is filled up with images drawn again, so that all batches are full."""
        order = self.rows[torch.randperm(len(self.rows), generator=self.generator)]
        missing = -len(order) % batch_size
        again = torch.randint(0, len(self.rows), (missing,), generator=self.generator)
        self.order, self.step, self.correct = torch.cat([order, self.rows[again]]), 0, 0

    def batch(self, images: PixelsAndLabels, schedule: PairSchedule) -> tuple[Tensor, Tensor]:
        """Return the step's augmented images [b, 3, h, w] and the targets of each, [b] or [b, n]."""
        first = self.step * schedule.batch_size
        rows = self.order[first : first + schedule.batch_size]
        pixels = images.pixels(rows).float() / 255
        return AUGMENTATIONS[schedule.augment](pixels, self.generator), self.targets[rows]

    def advance(self, correct: int, schedule: PairSchedule) -> bool:
        """Count a step and return whether the epoch is over."""
        self.step, self.correct = self.step + 1, self.correct + correct
        if over := self.step * schedule.batch_size >= len(self.order):
            self.accuracies.append(self.correct / len(self.order))
        return over

    def due(self, plan: _Plan) -> list[int | None]:
        """Return which of the wanted networks the one at the end of an epoch is."""
        epoch, rule = len(self.accuracies), plan.schedule
        stop = None not in self.kept and (self.accuracies[-1] > rule.accuracy or epoch >= rule.epochs)
        return [epoch] * (epoch in plan.snapshots) + [None] * stop


def _fit(start: Classifier, plan: _Plan, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Snapshots]]:
    """Train the stack of `pairs` and yield (pair, its networks) as each has all that are wanted."""
    schedule = plan.schedule
    states = [_begin(plan, pair) for pair in pairs]
    networks = [untrained(start, pair, plan.seed).to(plan.device).train() for pair in pairs]
    template = networks[0]
    parameters, buffers = stack_module_state(networks)
    del networks
    optimizer = torch.optim.Adam(parameters.values(), lr=schedule.lr)
    while states:
        batches = [state.batch(plan.images, schedule) for state in states]
        x, y = (torch.stack(each).to(plan.device) for each in zip(*batches, strict=True))  # [M, b, 3, h, w], [M, b]
        if plan.channels_last:
            x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(x.shape)
        logits = _forward(template, parameters, buffers, x)  # [M, b, n]
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(0, 1), reduction="none")
        losses = losses.view(len(states), -1).mean(1)
        if not bool(losses.isfinite().all()):
            raise RuntimeError(f"the loss of a pair is not finite: lower the rate {schedule.lr}")
        optimizer.zero_grad()
        losses.sum().backward()  # the networks share nothing: each gets its own gradient
        optimizer.step()
        done = []
        for k, correct in enumerate(_hits(logits, y).sum(1).tolist()):
            state = states[k]
            if not state.advance(correct, schedule):
                continue
            for epoch in state.due(plan):
                model = copy.deepcopy(template)
                model.load_state_dict({name: v[k].detach() for name, v in (parameters | buffers).items()})
                facts = {"epochs": len(state.accuracies), "accuracy": state.accuracies[-1]}
                state.kept[epoch] = model.cpu().eval(), facts
            if {*plan.snapshots, None} <= state.kept.keys():
                done.append(k)
                yield state.pair, state.kept
            else:
                state.shuffle(schedule.batch_size)
        if done:
            kept = [k for k in range(len(states)) if k not in done]
            states = [states[k] for k in kept]
            parameters, buffers = _shrink(optimizer, parameters, kept), {n: b[kept] for n, b in buffers.items()}


def _begin(plan: _Plan, pair: Pair) -> _Training:
    rows, shown = plan.rows[pair], plan.images.dataset.labels[:, pair]
    several = bool((shown[rows].sum(1) > 1).any())
    targets = shown / shown.sum(1, keepdim=True).clamp(min=1) if several else shown.argmax(1)
    generator = torch.Generator().manual_seed(int(fingerprint(plan.seed, pair), 16) % (1 << 62))
    state = _Training(pair, rows, targets, generator, rows)
    state.shuffle(plan.schedule.batch_size)
    return state


def _hits(logits: Tensor, y: Tensor) -> Tensor:
    """Return whether the largest logit is right, or one of those that are [M, b]."""
    best = logits.argmax(2)
    return best == y if y.dim() == 2 else y.gather(2, best[..., None])[..., 0] > 0


def untrained(start: Classifier, pair: Pair, seed: int) -> Classifier:
    """Return a copy of `start` with a new head, a logit per class; its values depend on the pair and the seed."""
    model = copy.deepcopy(start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(fingerprint("head", seed, pair), 16) % (1 << 62))
        model.head = LinearHead(start.head.in_features, len(pair)).to(start.head.weight)
    return model.requires_grad_(True)


def _forward(template: Classifier, parameters: dict, buffers: dict, x: Tensor) -> Tensor:
    """Return logits [M, B, n] of M stacked networks; one alone runs as itself, several vectorised."""

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
