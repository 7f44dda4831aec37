"""The explorer's photographs: what :mod:`workflow.studies.explorer_photographs` stored, outlines and credits."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from cam_utils import files, plots
from workflow.site.explorer_pictures import outline_path
from workflow.site.verdicts import data_name
from workflow.studies import explorer_photographs as study

HEADS = {network: data_name(network) for network in ("imagenet", "voc2012")}
HEADINGS = {network: f"Photographs, {name} labels" for network, name in HEADS.items()}


class Photograph(NamedTuple):
    """A photograph under one network, with the maps of its labels."""

    name: str  # "imagenet-000000000599"
    number: int  # its id in COCO, by which links name it
    network: str  # a key of HEADS
    labels: list[str]  # as the maps' rows, the most probable first
    methods: list[str]  # as the maps' columns
    size: tuple[int, int]  # width and height of a map
    tiles: Path
    outlines: list[str]  # SVG paths in a map's pixels, "" for a label that nobody outlined
    credit: Mapping[str, str]  # a line of data/photos/CREDITS.csv
    table: pd.DataFrame  # its rows of the pairs table

    @property
    def file(self) -> Path:
        """The photograph."""
        return files.DATA / "photos" / "images" / self.credit["file"]


def stored(folder: Path = study.FOLDER) -> Sequence[Photograph]:
    """Return the photographs of the study's record, those with ImageNet's labels first.

    Raises ValueError if the record has other views, or other labels, than the study has now.
    """
    record = json.loads((folder / "run.json").read_text())["views"]
    views = {view.name: view for view in study.views()}
    known = {name: set(view.labels) for name, view in views.items()}
    if (given := {name: set(parts["labels"]) for name, parts in record.items()}) != known:
        raise ValueError(f"expected the views {known} in {folder / 'run.json'}, got {given}: repeat the study")
    table = pd.read_parquet(folder / "photographs.parquet")
    credits = pd.read_csv(files.DATA / "photos" / "CREDITS.csv", dtype=str, keep_default_na=False)
    by_file = {line["file"]: line for line in credits.to_dict("records")}
    found = []
    for name, parts in record.items():
        view = views[name]
        photo, (top, left, rows, columns) = view.batch.ids[0], study.frame(view)
        regions = [plots.outline(view.batch, 0, view.classes.index(label)) for label in parts["labels"]]
        cut = [None if each is None else each[top : top + rows, left : left + columns].numpy() for each in regions]
        found.append(
            Photograph(
                name,
                int(photo),
                view.network,
                parts["labels"],
                parts["methods"],
                (columns, rows),
                folder / f"{name}.webp",
                ["" if each is None else outline_path(each) for each in cut],
                by_file[f"{photo}.jpg"],
                table[(table["network"] == view.network) & (table["image"] == photo)],
            )
        )
    return found


def shown(photograph: Photograph, longest: int | None = None) -> Image.Image:
    """Return the photograph at twice the size of its maps, or at `longest` pixels."""
    width, height = (2 * side for side in photograph.size)
    with Image.open(photograph.file) as picture:
        small = picture.convert("RGB")
        if longest is None:
            return small.resize((width, height), Image.Resampling.LANCZOS)
        small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        return small
