"""The project's own photographs: 19 of COCO 2017 whose licences let them be passed on, with COCO's annotations."""

from pathlib import Path

from cam_utils import files
from cam_utils.data import coco
from cam_utils.data.folder import Pictures, find
from cam_utils.names import check_known

EXPECTED = {"all": 19}
LAYOUT = "photos/ with images/ and instances.json, as in the project's data/ (an installed package has none)"


def load(name: str, split: str | None, *, root: str | Path | None, limit: int | None, **square: object) -> Pictures:
    """Return the photographs, split "all" (or None), in the order of the COCO ids; the 80 classes of coco2017.

    They are scaled to 480 pixels at most, and the annotations with them; crowd regions are left out.
    `root` is the folder that holds `photos/`, or that folder itself; None: the project's data folder. Each
    photograph's licence is in CREDITS.csv beside them.

    Raises: ValueError (split), FileNotFoundError (folder, annotations or images), OSError (damaged annotations).
    """
    split = check_known(f"split of {name}", "all" if split is None else split, EXPECTED)
    base = find(files.DATA if root is None else root, ("photos",), LAYOUT, name, signs=("instances.json",))
    full = f"the project has {EXPECTED[split]} photographs"
    return coco.pictures(name, split, base / "instances.json", base / "images", full, limit, **square)
