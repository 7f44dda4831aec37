"""How a training goes on after a kill: all it needs lies in one file, which is replaced whole after every epoch.

The file is Lightning's checkpoint (weights, optimiser, rates, counters, what callbacks keep) with what Lightning
leaves out: the log, the weights of the best epoch, the states of the generators, and which modules are training.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from cam_utils.files import clear_abandoned, code_fingerprint, fingerprint
from cam_utils.networks.schedules import Stage, describe
from cam_utils.networks.weight_files import read_own, save

NAME = "state.pt"
OWN = "cam_utils"  # the key of our part in Lightning's checkpoint
LOGGED = ("lr", "loss", "val_loss", "val_f1")


class WholeFiles(TorchCheckpointIO):
    """Lightning's checkpoints in files that appear only when complete, and in which nothing is executed."""

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: object = None) -> None:
        save(path, checkpoint)

    def load_checkpoint(self, path: str | Path, *_args: object, **_options: object) -> dict:
        return read_own(path)


def identity(model: nn.Module, schedule: tuple[Stage, ...], seed: int, options: Mapping[str, object]) -> str:
    """Return a digest of what a training starts from and runs by, but for its data.

    Only a training with the same digest may go on from a state. options: of the trainer, devices among them.

    >>> net = nn.Linear(1, 1)
    >>> first = identity(net, (Stage(1, 0.1),), 0, {"devices": 1})
    >>> first == identity(net, (Stage(1, 0.1),), 0, {"devices": 1}), first == identity(net, (), 0, {"devices": 1})
    (True, False)
    """
    weights = model.state_dict()
    libraries = [torch.__version__, L.__version__]
    settings = {name: str(value) for name, value in options.items()}
    return fingerprint(
        describe(schedule), seed, settings, libraries, code_fingerprint(), list(weights), *weights.values()
    )


def state_of(file: Path, training: str) -> dict | None:
    """Return our part of the state in a file: the "stage", whether it "ended", the "rows" of the log, and more.

    None, with a warning, for a file that is damaged or of another training, and without one if there is no file.
    """
    try:
        state = read_own(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        rank_zero_warn(f"{error}; the training that it was the state of starts again from the beginning")
        return None
    own = state.get(OWN) if isinstance(state, dict) else None
    if isinstance(own, dict) and own.get("training") == training:
        return own
    rank_zero_warn(
        f"{file} is not the state of this training but of other settings, devices, versions or code: this training "
        "starts from the beginning"
    )
    return None


def clear(folder: Path) -> None:
    """Remove the state of a training that is over, and its folder if nothing else is in it."""
    with suppress(OSError):
        clear_abandoned(folder.glob(".*"), held=True)
        (folder / NAME).unlink(missing_ok=True)
        folder.rmdir()


class Keeper(Checkpoint):
    """Keeps a stage's log and, with `best`, the weights of its best epoch; writes its state to `file`.

    It does so after every epoch, or with `always=False` only at the stage's end, since from the file a process also
    learns what came out of a training in others that it started. training: its :func:`identity`; rows: those of the
    stages before.
    """

    def __init__(
        self, file: Path, training: str, stage: int, rows: list[dict], *, best: bool, always: bool
    ) -> None:
        self.file, self.training, self.stage, self.best, self.always = file, training, stage, best, always
        self.rows, self.lowest, self.weights, self.ended = list(rows), math.inf, None, False
        self._resumed: dict | None = None

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict) -> None:
        self._resumed = own = checkpoint[OWN]
        self.rows, self.lowest, self.weights = own["rows"], own["lowest"], own["weights"]
        self.ended = own["ended"]

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self._resumed:  # modules frozen in a stage before stay in evaluation mode
            for name, each in module.model.named_modules():
                each.training = self._resumed["modes"][name]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            clear_abandoned(self.file.parent.glob(".*"))  # by a kill while writing
        if self._resumed:
            trainer.train_dataloader.generator.set_state(self._resumed["loader"])
            for name, library in _random(module.device).items():
                library.set_rng_state(self._resumed["random"][name])
            # The loader's pass that Lightning has begun already knows neither the generator's state nor, with
            # several devices, the epoch: let the first epoch begin its own, as every later one does.
            trainer.fit_loop._resuming_from_checkpoint = False
            self._resumed = None

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        row = {name: float(trainer.callback_metrics[name]) for name in LOGGED}
        self.rows.append({"stage": self.stage, "epoch": trainer.current_epoch + 1, **row})
        loss = row["val_loss"]
        if self.best and (self.weights is None or loss < self.lowest):
            state = trainer.strategy.lightning_module_state_dict()
            self.weights = {key: value.detach().to("cpu", copy=True) for key, value in state.items()}
            self.lowest = math.inf if math.isnan(loss) else loss
        self.ended = trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs
        if self.always or self.ended:
            trainer.save_checkpoint(self.file)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not self.ended:  # by an option of the trainer, such as max_time
            self.ended = True
            trainer.save_checkpoint(self.file)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict) -> None:
        # One process writes for all: they began with the same seed, and drew as much for as many images.
        checkpoint[OWN] = {
            "training": self.training, "stage": self.stage, "ended": self.ended, "rows": self.rows,
            "lowest": self.lowest, "weights": self.weights,
            "modes": {name: each.training for name, each in module.model.named_modules()},
            "loader": trainer.train_dataloader.generator.get_state(),
            "random": {name: library.get_rng_state() for name, library in _random(module.device).items()},
        }  # fmt: skip


def _random(device: torch.device) -> dict:
    """Return torch's modules that own the global generators in use, by device type."""
    used = {"cpu", device.type} & {"cpu", "cuda", "mps", "xpu"}
    return {name: torch.random if name == "cpu" else getattr(torch, name) for name in used}
