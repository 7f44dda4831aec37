"""The scripts that hold the explorer's pictures: no JSON files, since a page from a disk may not fetch one."""

from collections.abc import Mapping

from cam_utils import plots
from cam_utils.networks import models
from workflow.site import escape
from workflow.site.explorer import Explored, labels_of
from workflow.site.explorer_photographs import HEADS, Photograph, shown
from workflow.site.explorer_pictures import LOSSLESS, LOSSY, address, data_address, outline_path, picture_of
from workflow.studies.explorer_photographs import BACKBONE

THUMBNAIL = 144  # pixels of a photograph's longer side among the choices


def scripts(found: Explored) -> Mapping[str, str]:
    """Return {file name: script}: explorer-data.js, and one for each photograph, which the page loads when chosen.

    Names are written as the form and its table show them, since the browser finds pictures and numbers by them. The
    pictures of a scene are its photograph, and per head one grey picture of all its maps, a row per label and a
    column per method, of which the browser colours one tile.
    """
    blanks = {head: blank.tolist() for head, blank in found.blanks.items()}
    mean, _ = models.normalisation_of(BACKBONE)
    blanks |= {HEADS[each.network]: mean for each in found.photographs}
    content = {
        "colours": plots.map_colours(),
        "blanks": {escape.plain(head): [round(255 * value) for value in blank] for head, blank in blanks.items()},
        "scenes": _scenes(found) | {each.name: _photograph(each) for each in found.photographs},
    }
    texts = {"explorer-data.js": f"window.CAM_EXPLORER = {escape.script_json(content)};\n"}
    for each in found.photographs:
        pictures = {
            "photo": address(shown(each), **LOSSY),
            "maps": {HEADS[each.network]: data_address(each.tiles.read_bytes())},
        }
        place = f"window.CAM_EXPLORER.scenes[{escape.script_json(each.name)}].pictures"
        texts[script_of(each)] = f"{place} = {escape.script_json(pictures)};\n"
    return texts


def script_of(photograph: Photograph) -> str:
    """Return the name of the script with the photograph's pictures."""
    return f"explorer-{photograph.name}.js"


def title(photograph: Photograph) -> str:
    """Return what the page and its table call the photograph."""
    return f"photograph {photograph.number}"


def _scenes(found: Explored) -> dict[str, dict]:
    plain, scenes = escape.plain, {}
    for scene, name in enumerate(found.batch.ids):
        rows = (found.pairs.image == scene).nonzero()[:, 0]
        labels = labels_of(found, scene)
        # [n, M, h, w] -> [n h, M w]
        tiles = {head: m[rows].permute(0, 2, 1, 3).flatten(2).flatten(0, 1) for head, m in found.masks.items()}
        photo = address(picture_of(found.batch.images[scene].permute(1, 2, 0)), **LOSSLESS)
        scenes[plain(name)] = {
            "key": plain(name),
            "title": f"Scene {plain(name)}",
            "labels": [plain(found.classes[label]) for label in labels],
            "methods": list(map(plain, found.methods)),
            "heads": list(map(plain, found.masks)),
            "size": list(found.batch.images.shape[:1:-1]),
            "outlines": [outline_path(plots.outline(found.batch, scene, label).numpy()) for label in labels],
            "pictures": {
                "photo": photo,
                "maps": {plain(head): address(picture_of(each), **LOSSLESS) for head, each in tiles.items()},
            },
        }
    return scenes


def _photograph(each: Photograph) -> dict:
    return {
        "key": title(each),
        "title": title(each).capitalize(),
        "number": each.number,
        "labels": each.labels,
        "methods": each.methods,
        "heads": [HEADS[each.network]],
        "size": list(each.size),
        "outlines": each.outlines,
        "small": address(shown(each, THUMBNAIL), **LOSSY),
        "script": script_of(each),
    }
