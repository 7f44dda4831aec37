"""Training by schedule: the papers' stages are data (:mod:`cam_utils.networks.schedules`), Lightning runs them.

A stage freezes the lower part of the features, trains what is left, and may halve the learning rate on a plateau
(going back to the best weights so far) and stop early. Source: David et al. 2022, Sec. 4; where their
notebooks differ from the text: deviations dev-learning-rates and dev-plateau.
"""

import logging
import math
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cam_utils.data.pixels import PixelsAndLabels
from cam_utils.networks import frozen, resuming
from cam_utils.networks.augmentation import AUGMENTATIONS
from cam_utils.networks.models import Classifier
from cam_utils.networks.schedules import Stage

LOSSES = {
    "sigmoid": F.binary_cross_entropy_with_logits,
    "softmax": F.cross_entropy,  # takes one-hot labels as probabilities
}
OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def unfreeze_top(features: nn.Module, fraction: float) -> int:
    """Let the top `fraction` of the parameterised layers train, freeze the rest; return how many train.

    >>> net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> unfreeze_top(net, 0.5), [p.requires_grad for p in net.parameters()]
    (1, [False, False, True, True])
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"expected a fraction of layers in [0, 1], got {fraction}")
    layers = [m for m in features.modules() if any(True for _ in m.parameters(recurse=False))]
    first = len(layers) - round(fraction * len(layers))
    for i, layer in enumerate(layers):
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(i >= first)
    return len(layers) - first


def settle(features: nn.Module) -> None:
    """Put layers whose parameters are frozen into evaluation mode: batch normalisation keeps its statistics."""
    for module in features.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            module.eval()


class PlateauRestore(Callback):
    """After `patience` epochs without a lower validation loss: halve the rate, and `restore` the best weights."""

    def __init__(self, patience: int, factor: float = 0.5, restore: bool = True) -> None:
        self.patience, self.factor, self.restore = patience, factor, restore
        self.best, self.state, self.waited = math.inf, None, 0

    def on_validation_end(self, trainer, module) -> None:
        if trainer.sanity_checking:
            return
        loss = float(trainer.callback_metrics["val_loss"])
        if loss < self.best:
            self.best, self.waited = loss, 0
            if self.restore:
                self.state = {k: v.detach().clone() for k, v in module.model.state_dict().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.waited = 0
            if self.state is not None:
                module.model.load_state_dict(self.state)
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= self.factor

    def state_dict(self) -> dict:
        return {"best": self.best, "state": self.state, "waited": self.waited}

    def load_state_dict(self, state_dict: dict) -> None:
        self.best, self.state, self.waited = (state_dict[name] for name in ("best", "state", "waited"))


class Bar(TQDMProgressBar):
    """A progress bar that says which stage of how many, and which epoch of at most how many, is under way."""

    def __init__(self, stage: int, stages: int) -> None:
        super().__init__()
        self.stage, self.stages = stage, stages

    def on_train_epoch_start(self, trainer: L.Trainer, *rest: object) -> None:
        super().on_train_epoch_start(trainer, *rest)
        epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        self.train_progress_bar.set_description(f"stage {self.stage} of {self.stages}, {epoch}")


class Training(L.LightningModule):
    """One stage of training by its loss (:data:`LOSSES`); logs val_loss and val_f1."""

    def __init__(self, model: Classifier, stage: Stage, seed: int) -> None:
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        self.augment, self.loss = AUGMENTATIONS[stage.augment], LOSSES[stage.loss]
        self._seen: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        self.model.train()  # an earlier stage has left layers in evaluation mode that train in this one
        settle(self.model.features)

    def inputs(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return what the model takes, of uint8 images or of features of their views; with a generator, varied."""
        if images.dtype != torch.uint8:
            return frozen.drawn(images, generator)
        images = images.float() / 255
        images = self.model.preprocess(images if generator is None else self.augment(images, generator))
        # Twice as fast on a processor where convolutions work channel by channel (EfficientNet-Lite0, its top 60%).
        return images.contiguous(memory_format=torch.channels_last)

    def training_step(self, batch, index: int) -> Tensor:
        images, labels = batch
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.current_epoch + index)
        images = self.inputs(images, generator)
        if hasattr(self.model, "branches"):  # ACoL: each branch has its own loss
            loss = sum(self.loss(logits, labels) for logits in self.model.branches(images, labels))
        else:
            loss = self.loss(self.model(images), labels)
        self.log("loss", loss, on_epoch=True, on_step=False, sync_dist=True, batch_size=len(labels))
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"], on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch, _index: int) -> None:
        images, labels = batch
        logits = self.model(self.inputs(images))
        loss = self.loss(logits.float(), labels)
        self.log("val_loss", loss, prog_bar=True, sync_dist=True, batch_size=len(labels))
        first = logits == logits.amax(1, keepdim=True)
        predicted = first if self.stage.loss == "softmax" else logits > 0
        self._seen.append((predicted.cpu(), labels.cpu() > 0))

    def on_validation_epoch_end(self) -> None:
        predicted, labels = (torch.cat(parts).numpy() for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        f1 = f1_score(labels, predicted, average="macro", zero_division=0)
        self.log("val_f1", float(f1), prog_bar=True, sync_dist=True)

    def configure_optimizers(self):
        rates = [self.stage.lr, self.stage.head_lr or self.stage.lr]
        parts = (self.model.features, self.model.head)
        groups = [
            {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate}
            for part, rate in zip(parts, rates, strict=True)
        ]
        optimizer = OPTIMIZERS[self.stage.optimizer](groups, weight_decay=self.stage.weight_decay)
        if not self.stage.one_cycle:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def train(
    model: Classifier, load: Callable[..., Dataset], schedule: tuple[Stage, ...], *, seed: int = 0,
    devices: int = 1, nodes: int = 1, workers: int = 0, progress: bool = True, folder: str | Path | None = None,
    **trainer: object,
) -> pd.DataFrame:  # fmt: skip
    """Train the model in place through the schedule's stages and return one row per epoch.

    `load(split, **options)` gives the datasets "train" and "val" (a partial of `data.load`). `devices`, `nodes`
    and the options in `trainer` (accelerator, strategy, precision) are Lightning's. With `folder`, one for each
    dataset, what is needed to go on is written there after every epoch, and the same call after a kill goes on from
    the last whole epoch and ends with the same weights and rows; several nodes must share the folder, and the
    caller deletes it. A damaged state, or one of other settings, devices, versions or code, is passed over with a
    warning. Columns of the result: stage, epoch, lr, loss, val_loss, val_f1 (macro, in [0, 1]; p > 0.5, or with
    softmax the first class).
    Raises RuntimeError if the loss is not finite, ValueError for a dataset without images.
    """
    options = {"devices": devices, "num_nodes": nodes, **trainer}
    training = resuming.identity(model, schedule, seed, {"workers": workers, **options}) if folder else ""
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as place:
        file = Path(place) / resuming.NAME
        found = resuming.state_of(file, training) if folder else None
        rows = found["rows"] if found else []
        for number, stage in enumerate(schedule, start=1):
            if found and number < found["stage"]:
                continue
            resumed = found if found and number == found["stage"] else None
            unfreeze_top(model.features, stage.unfrozen)
            net, pairs = _parts(model, load, stage, devices * nodes, _device(trainer), progress)
            for split, images in zip(("training", "validation"), pairs, strict=True):
                if not len(images):
                    raise ValueError(f"no {split} image for stage {number} of the training")
            generator = torch.Generator().manual_seed(seed + number)
            # Every process takes its share: a step sees the schedule's batch whatever the number of devices.
            share = max(1, stage.batch_size // (devices * nodes))
            loaders = [
                DataLoader(p, share, shuffle=i == 0, num_workers=workers, generator=generator)
                for i, p in enumerate(pairs)
            ]
            keeper = resuming.Keeper(file, training, number, rows, best=stage.keep == "best", always=bool(folder))
            bar = Bar(number, len(schedule)) if progress else None
            rows = _run(Training(net, stage, seed), loaders, keeper, resumed, bar, **options)
            if not np.isfinite([row["loss"] for row in rows if row["stage"] == number]).all():
                raise RuntimeError(f"the training loss is not finite in stage {number}: lower lr={stage.lr}")
    unfreeze_top(model.features, 1.0)
    model.cpu().eval()
    return pd.DataFrame(rows, columns=["stage", "epoch", *resuming.LOGGED])


def _device(trainer: Mapping[str, object]) -> str:
    """Return the device that Lightning's option `accelerator` means, by torch's name."""
    wanted = str(trainer.get("accelerator", "auto"))
    return "cuda" if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"


def _parts(
    model: nn.Module, load: Callable[..., Dataset], stage: Stage, processes: int, device: str, progress: bool
) -> tuple[nn.Module, Sequence[Dataset]]:
    """Return what a stage trains, and on what: a frozen backbone's features are computed once, not each epoch."""
    if processes == 1 and frozen.fits(model, stage):  # several would each compute all of them
        return frozen.Pooled(model), frozen.views_of(model, load, stage, device=device, progress=progress)
    parts = [load(split, **stage.data) for split in ("train", "val")]
    return model, [part if isinstance(part, frozen.Views) else PixelsAndLabels(part) for part in parts]


def _run(
    module: Training, loaders: list[DataLoader], keeper: resuming.Keeper, resumed: dict | None, bar: Bar | None,
    **options: object,
) -> list[dict]:  # fmt: skip
    """Run what is left of a stage, leave the weights in the module that it keeps, and return all rows so far."""
    stage, epochs = module.stage, module.stage.epochs
    if resumed and resumed["ended"]:  # perhaps early: all processes pass through, and none trains
        epochs = sum(row["stage"] == resumed["stage"] for row in resumed["rows"])
    callbacks = [keeper, *([bar] if bar else [])]
    if stage.plateau:
        callbacks.append(PlateauRestore(stage.plateau, restore=stage.restore))
    if stage.early_stop:
        callbacks.append(EarlyStopping("val_loss", patience=stage.early_stop, check_finite=False))
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(), _quiet():
        torch.manual_seed(module.seed)  # dropout only
        trainer = L.Trainer(
            max_epochs=epochs, callbacks=callbacks, logger=False, plugins=[resuming.WholeFiles()],
            enable_progress_bar=bar is not None, enable_model_summary=False, num_sanity_val_steps=0,
            default_root_dir=folder, **options,
        )  # fmt: skip
        try:
            trainer.fit(module, *loaders, ckpt_path=keeper.file if resumed else None)
        except SIGTERMException as error:  # Lightning's, which would end the process with status 0
            raise SystemExit(128 + signal.SIGTERM) from error
        rows, weights = None, None
        if trainer.global_rank == 0:  # from a file if with several devices the epochs ran in other processes
            state = vars(keeper) if keeper.ended else resuming.state_of(keeper.file, keeper.training)
            rows, weights = state["rows"], state["weights"]
        rows, weights = trainer.strategy.broadcast((rows, weights))
    if weights is not None:
        module.load_state_dict(weights)
    return rows


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's banners and its advice on workers; errors and our own progress stay."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        logger.setLevel(level)
