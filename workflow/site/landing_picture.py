"""The pictures of the first page: one photograph, two labels, each explained by CAM and by MinMax-CAM.

    python -m workflow.site.landing

writes them into assets/landing, to be committed, with shares.csv: how much of each map lies on which object.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from workflow import ROOT

FOLDER = ROOT / "assets" / "landing"
SHARES = "shares.csv"
PHOTO = "000000000599"  # of data/photos: a cat beside a remote control, CC BY 2.0
OBJECTS = {"remote control": "remote", "tabby": "cat"}  # ImageNet's label -> what COCO calls its object
METHODS = ("cam", "minmax-cam")
LONGEST = 480  # pixels: the photograph as it is stored


def explained() -> dict:
    """Return {method: what `cam_utils.explain` says of both labels}, of EfficientNet-Lite0 trained on ImageNet."""
    import cam_utils  # which brings torch along; the page itself needs the files alone

    model = cam_utils.load_model("efficientnet_lite0", "imagenet")
    photo = ROOT / "data" / "photos" / "images" / f"{PHOTO}.jpg"
    return {method: cam_utils.explain(model, photo, list(OBJECTS), method=method) for method in METHODS}


def write(found: Mapping, folder: Path = FOLDER) -> list[Path]:
    """Write the pictures and shares.csv of what :func:`explained` returns; return the pictures."""
    files = [file for each in found.values() for file in each.save(folder, longest=LONGEST, opacity=0.5)]
    shares(found).to_csv(folder / SHARES, index=False, float_format="%.4f")
    return files


def shares(found: Mapping) -> pd.DataFrame:
    """Return one row per method and label: p, its place among all, and the map's share on both objects.

    Columns: method, label, file (of the picture), p, place (1 the highest), own, other (in [0, 1], of the map's sum
    in the photograph's frame).
    """
    from cam_utils import data
    from cam_utils.data.sizing import unfit
    from cam_utils.front.file_names import label_name

    photos = data.load("photos", size=LONGEST)
    sample = photos[photos.ids.index(PHOTO)]
    rows = []
    for method, each in found.items():
        for one in each:
            objects = {}
            for name in OBJECTS.values():
                of_class = sample.objects == photos.classes.index(name)
                region = sample.masks[of_class].any(0)[None].float()
                objects[name] = unfit(region, *one.map.shape)[0] > 0.5
            own = OBJECTS[one.name]
            (other,) = set(objects) - {own}
            every = each.probabilities[0]
            rows.append(
                {
                    "method": method,
                    "label": one.name,
                    "file": f"{PHOTO}_{label_name(one.label, each.names)}_{method}.jpg",
                    "p": one.probability,
                    "place": 1 + int((every > every[one.label]).sum()),
                    "own": float(one.map[objects[own]].sum() / one.map.sum()),
                    "other": float(one.map[objects[other]].sum() / one.map.sum()),
                }
            )
    return pd.DataFrame(rows)
