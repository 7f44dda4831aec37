"""Training by schedule: the papers' stages are data (:mod:`cam_utils.networks.schedules`), Lightning runs them.

A stage freezes the lower part of the features, trains what is left, and may halve the learning rate on a plateau
(going back to the best weights so far) and stop early. Source: David et al. 2022, Sec. 4; where their
notebooks differ from the text: deviations dev-learning-rates and dev-plateau.
"""

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cam_utils.data.pixels import PixelsAndLabels
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


class Training(L.LightningModule):
    """One stage of training by its loss (:data:`LOSSES`); logs val_loss and val_f1."""

    def __init__(self, model: Classifier, stage: Stage, seed: int) -> None:
        super().__init__()
        self.model, self.stage, self.seed = model, stage, seed
        self.augment, self.loss = AUGMENTATIONS[stage.augment], LOSSES[stage.loss]
        self._seen: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        for module in self.model.features.modules():  # frozen batch normalisation keeps its statistics
            own = list(module.parameters(recurse=False))
            if own and not any(p.requires_grad for p in own):
                module.eval()

    def training_step(self, batch, index: int) -> Tensor:
        images, labels = batch
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.current_epoch + index)
        images = self.augment(images.float() / 255, generator)
        images = self.model.preprocess(images)
        if hasattr(self.model, "branches"):  # ACoL: each branch has its own loss
            loss = sum(self.loss(logits, labels) for logits in self.model.branches(images, labels))
        else:
            loss = self.loss(self.model(images), labels)
        self.log("loss", loss, on_epoch=True, on_step=False, sync_dist=True, batch_size=len(labels))
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"], on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch, _index: int) -> None:
        images, labels = batch
        logits = self.model(self.model.preprocess(images.float() / 255))
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
    devices: int = 1, nodes: int = 1, workers: int = 0, progress: bool = True, **trainer: object,
) -> pd.DataFrame:  # fmt: skip
    """Train the model in place through the schedule's stages and return one row per epoch.

    `load(split, **options)` gives the datasets "train" and "val" (a partial of `data.load`). `devices`, `nodes`
    and the options in `trainer` (accelerator, strategy, precision) are Lightning's. Columns of the result: stage,
    epoch, lr, loss, val_loss, val_f1 (macro, in [0, 1]; p > 0.5, or with softmax the first class). Raises
    RuntimeError if the loss is not finite, ValueError for a dataset without images.
    """
    rows = []
    for number, stage in enumerate(schedule, start=1):
        unfreeze_top(model.features, stage.unfrozen)
        pairs = [PixelsAndLabels(load(split, **stage.data)) for split in ("train", "val")]
        for split, images in zip(("training", "validation"), pairs, strict=True):
            if not len(images):
                raise ValueError(f"no {split} image for stage {number} of the training")
        generator = torch.Generator().manual_seed(seed + number)
        # Every process takes its share, so that a step sees the schedule's batch whatever the number of devices.
        share = max(1, stage.batch_size // (devices * nodes))
        loaders = [
            DataLoader(p, share, shuffle=i == 0, num_workers=workers, generator=generator)
            for i, p in enumerate(pairs)
        ]
        module = Training(model, stage, seed)
        log = _run(module, loaders, progress, devices=devices, num_nodes=nodes, **trainer)
        if not np.isfinite(log["loss"]).all():
            raise RuntimeError(f"the training loss is not finite in stage {number}: lower lr={stage.lr}")
        rows.append(log.assign(stage=number, epoch=log["epoch"] + 1))
    unfreeze_top(model.features, 1.0)
    model.cpu().eval()
    return pd.concat(rows, ignore_index=True)[["stage", "epoch", "lr", "loss", "val_loss", "val_f1"]]


def _run(module: Training, loaders: list[DataLoader], progress: bool, **options: object) -> pd.DataFrame:
    """Run one stage, leave the weights in the module that the stage keeps, and return Lightning's log."""
    stage, best = module.stage, None
    callbacks = [TQDMProgressBar()] if progress else []
    if stage.plateau:
        callbacks.append(PlateauRestore(stage.plateau, restore=stage.restore))
    if stage.early_stop:
        callbacks.append(EarlyStopping("val_loss", patience=stage.early_stop, check_finite=False))
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(), _quiet():
        torch.manual_seed(module.seed)  # dropout only
        if stage.keep == "best":
            best = ModelCheckpoint(folder, monitor="val_loss", save_weights_only=True)
            callbacks.append(best)
        trainer = L.Trainer(
            max_epochs=stage.epochs, callbacks=callbacks, logger=CSVLogger(folder, name=None, version=""),
            enable_progress_bar=progress, enable_checkpointing=best is not None, enable_model_summary=False,
            num_sanity_val_steps=0, default_root_dir=folder, **options,
        )  # fmt: skip
        trainer.fit(module, *loaders)
        # From files of the first process, since with several devices the epochs may have run in others.
        log, state = None, None
        if trainer.global_rank == 0:
            log = pd.read_csv(Path(folder) / "metrics.csv").groupby("epoch", as_index=False).first()
            state = torch.load(best.best_model_path, weights_only=True)["state_dict"] if best else None
        log, state = trainer.strategy.broadcast((log, state))
    if state is not None:
        module.load_state_dict(state)
    return log


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
