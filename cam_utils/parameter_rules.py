"""Which values of a chapter's parameters go together, and whether what they name is on this machine."""

import os
from pathlib import Path

from cam_utils.names import check_known
from cam_utils.parameter_kinds import refused, registered

CARRIED = ("digits", "photos")  # datasets that the project itself holds or draws
OWN = ("digits", "digits-cbam")  # networks for the digits, of which nobody has ImageNet weights
SMALLEST = 64  # scene in which all digits find a place, in pixels
LARGEST = registered("data/digits.py:SIDES")[1]
CLASSES = 10  # of the digits


def disagreement(chapter: str, p: dict) -> str | None:
    """Return in a sentence which of a chapter's checked values do not go together, or None."""
    if chapter == "your_model":
        return _of_own_model(p)
    dataset, weights, size = p["dataset"], p["weights"], p.get("size")
    digits, network = dataset == "digits", p.get("architecture", p.get("network"))
    if chapter == "ss_cam":
        if digits and (network or weights):
            got = f"{network!r} and {weights!r}"
            return f"expected network and weights as None for the dataset digits, which has its own, got {got}"
        if not digits and (network is None or weights is None):
            return (
                f"expected network as a name and weights as 'imagenet' or a path, since the dataset {dataset} "
                f"needs a trained network, got {network!r} and {weights!r}"
            )
    if network in OWN and weights == "imagenet":
        return f"expected weights as None or the path of a checkpoint for the {network} network, got 'imagenet'"
    if digits and size and not SMALLEST <= size <= LARGEST:
        return f"expected size as {SMALLEST} to {LARGEST} pixels for digits, got {size}"
    if not digits and (p.get("schedule") or "").startswith("digits"):
        return f"expected schedule as one of the papers' for the dataset {dataset}, got {p['schedule']!r}"
    if chapter == "minmax_cam" and "cam" not in p["methods"]:
        return f"expected cam among the methods, since every other is compared with it, got {p['methods']}"
    if chapter == "representative_cam" and digits:
        several, least, classes = p["representatives"], p["smallest"] or 1, CLASSES
        if several >= classes:
            return f"expected representatives as 1 to {classes - 1} for the {classes} digits, got {several}"
        if several * least > classes:
            most = classes // several
            return f"expected smallest as 1 to {most}, since {several} clusters share the digits, got {least}"
    return None


def _of_own_model(p: dict) -> str | None:
    """Return in a sentence which values of the notebook on one's own model do not go together, or None."""
    network, weights, classes = p["network"], p["weights"], p["classes"]
    by_name = network != "digits" and not network.endswith(".pt") and ".py:" not in network
    if network == "digits" and (weights is not None or classes is not None):
        words = "None for the network digits, which has its own"
        return str(refused("weights and classes", words, (weights, classes)))
    if by_name and weights is None:
        missing = f"expected weights as 'imagenet' or a path, since {network[:60]!r} as network has none, got None"
        return _unknown(network) or missing
    if network.endswith(".pt") and weights is not None:
        return f"expected weights as None for the network {network[:60]!r}, which has its own, got {weights!r}"
    if p["mean"] and p["std"] and len(p["mean"]) != len(p["std"]):
        return str(refused("mean and std", "equally many numbers", (p["mean"], p["std"])))
    return None


def _unknown(network: str) -> str | None:
    """Return in a sentence that no library builds a network of this name, with the nearest names, or None."""
    if network.startswith("timm/"):
        return None
    from torchvision.models import list_models  # seconds, which only a wrong call waits for

    try:
        check_known("network", network[:60], [*list_models(), *registered("networks/lite.py:LITE")])
    except ValueError as error:
        return str(error)
    return None


def lacking(chapter: str, p: dict) -> str | None:
    """Return in a sentence which file, folder or device is not here as the parameters say, or None."""
    own = chapter == "your_model"  # which reads "~" as the home folder

    def place(name: str) -> Path:
        return Path(p[name]).expanduser() if own else Path(p[name])

    if p["weights"] not in (None, "imagenet") and not os.path.isfile(place("weights")):
        return f"expected weights as 'imagenet' or the path of a file, got {p['weights']!r}, where there is none"
    if own and p["images"] is not None and not os.path.exists(place("images")):
        return f"expected images as a folder of pictures, got {p['images']!r}, where there is none"
    if not own and p["dataset"] not in CARRIED and not (p["data_root"] and os.path.isdir(place("data_root"))):
        return f"expected data_root as the folder that the dataset {p['dataset']} is in, got {p['data_root']!r}"
    if p["device"] not in ("auto", "cpu"):
        from cam_utils import runs  # which asks torch; few runs need to

        try:
            runs.pick_device(p["device"])
        except ValueError as error:
            return str(error)
    if p["output"] is not None:
        return unfit(place("output"), "output")
    return None


def unfit(folder: Path, name: str) -> str | None:
    """Return in a sentence why there can be no folder of this path, or None.

    >>> unfit(Path(__file__), "output")[:50]
    'expected output as a folder that can be written, g'
    """
    path = folder.absolute()
    long = [part for part in path.parts if len(os.fsencode(part)) > 255]
    nearest = next(each for each in (path, *path.parents) if os.path.exists(each))
    if long or not os.path.isdir(nearest) or not os.access(nearest, os.W_OK):
        why = "a name of more than 255 bytes" if long else f"see {nearest}"
        return f"expected {name} as a folder that can be written, got {str(folder)[:80]!r}: {why}"
    return None
