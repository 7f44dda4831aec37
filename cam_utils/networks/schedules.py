"""The papers' training schedules as data: stages, each with its rate, loss, batch and stopping rule.

Sources: David et al. 2022, Sec. 4, and their notebooks (deviations dev-learning-rates and dev-plateau say where
they differ); Meng et al., Sec. 4.2.
"""

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Stage:
    """One stage of a schedule. Fractions are in [0, 1], patiences in epochs (None: off)."""

    epochs: int
    lr: float
    head_lr: float | None = None  # the head's own rate; None: lr
    unfrozen: float = 1.0  # fraction of the features' layers that train, counted from the top
    batch_size: int = 32
    optimizer: str = "sgd"  # "sgd" (Nesterov 0.9), "adam" or "adamw"
    weight_decay: float = 0.0
    one_cycle: bool = False
    plateau: int | None = None  # halve the rate after so many epochs without a lower validation loss
    restore: bool = True  # and then go back to the best weights
    early_stop: int | None = None
    keep: str = "best"  # "best" validation loss, or the "last" epoch
    augment: str = "photo"
    data: dict = field(default_factory=dict)  # options of data.load for this stage only
    loss: str = "sigmoid"  # of independent labels, or "softmax" of one class per image


def frozen(head_lr: float) -> Stage:
    """Return the paper's first stage: the head alone, at this rate, for 30 epochs.

    Mirroring is its only augmentation, so that it trains on cached features (deviation dev-frozen-views).
    """
    return Stage(30, head_lr, unfrozen=0.0, plateau=3, early_stop=20, augment="flip")


# The paper's second stage: the top 60% of the layers, for as long as the validation loss falls.
FINE_TUNING = Stage(80, 0.01, unfrozen=0.6, plateau=3, early_stop=20)


def _paper(head_lr: float = 0.1) -> tuple[Stage, ...]:
    return frozen(head_lr), FINE_TUNING


def _digits(head_lr: float | None = None, loss: str = "sigmoid") -> tuple[Stage, ...]:
    """Single digits first, then scenes: about two minutes on two cores."""
    both = {
        "head_lr": head_lr, "loss": loss, "batch_size": 64, "optimizer": "adamw", "weight_decay": 0.01,
        "one_cycle": True, "keep": "last", "augment": "digits",
    }  # fmt: skip
    return (
        Stage(5, 0.008, **both, data={"objects": (1.0,), "size": 48, "n": 8000}),
        Stage(6, 0.008, **both),
    )


SCHEDULES: dict[str, tuple[Stage, ...]] = {
    "paper": _paper(),
    # Kernel usage shrinks the effective weights by the number of labels; the notebooks answer with a rate of 1.
    "paper-kernel-usage": _paper(head_lr=1.0),
    "notebook-voc07": (Stage(80, 0.002, unfrozen=0.0), Stage(20, 1e-5, unfrozen=0.6)),
    "notebook-voc12": (
        Stage(120, 1.0, unfrozen=0.0, plateau=3, early_stop=20),
        Stage(80, 0.01, unfrozen=0.6, plateau=3, early_stop=20),
    ),
    "notebook-coco": (
        Stage(80, 1.0, unfrozen=0.0, batch_size=64, plateau=3, early_stop=20),
        Stage(80, 0.01, unfrozen=0.6, plateau=3, early_stop=20),
    ),
    "digits": _digits(),
    "digits-kernel-usage": _digits(head_lr=0.08),  # ten times the rate: dev-kernel-usage-rate-digits
    "digits-softmax": _digits(loss="softmax"),
    # ACoL starts from the trained trunk: from random weights branch A stays at chance, while branch B learns to
    # read the class off the hole that the class's own map erased.
    "digits-acol": (
        Stage(
            4, 0.001, batch_size=64, optimizer="adamw", weight_decay=0.01, one_cycle=True, keep="last",
            augment="digits", loss="softmax",
        ),
    ),
    # Few images, none changed, until they are known by heart: for labels that only memory can give.
    "by-heart": (Stage(120, 0.003, optimizer="adam", keep="last", augment="none", data={"limit": 64}),),
    # Meng et al., Sec. 4.2; the optimiser and the augmentation are unstated (deviation dev-rep-optimiser).
    "representative": (
        Stage(
            200, 1e-4, batch_size=24, optimizer="adam", plateau=5, restore=False, keep="last", augment="flip",
            loss="softmax",
        ),
    ),
}  # fmt: skip


def describe(schedule: tuple[Stage, ...]) -> list[dict]:
    """Return what each stage sets, defaults left out: equal for equal training, also when fields are added.

    >>> describe((Stage(3, 0.1),))
    [{'epochs': 3, 'lr': 0.1}]
    """
    default = asdict(Stage(epochs=0, lr=0.0))
    return [{key: value for key, value in asdict(stage).items() if value != default[key]} for stage in schedule]
