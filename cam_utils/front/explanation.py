"""What an explanation holds: maps of pairs (picture, label), each in the picture's own frame if asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor, nn

from cam_utils.data.sizing import unfit
from cam_utils.front.pictures import frame, smaller, within
from cam_utils.maps import normalise, upsample
from cam_utils.pairs import Pairs


@dataclass(frozen=True, eq=False)
class Explained:
    """One label of one picture.

    picture: as it was given (path, PIL image, array), or a tensor [C, h, w]. label, name: the label's index and
    name. probability: the model's, or the value of a target. mask: the map at the size that the model saw [h, w].
    """

    picture: object
    label: int
    name: str
    probability: float
    mask: Tensor

    @property
    def map(self) -> Tensor:
        """The map in the picture's own frame [H, W]: without the letterbox' bars, and as large as the picture."""
        if isinstance(self.picture, Tensor):
            return self.mask
        return in_frame(self.mask, *frame(self.picture))

    def small(self, longest: int = 320) -> tuple[Tensor, Tensor]:
        """Return picture [3, h, w] in [0, 1] and map [h, w], of at most `longest` pixels, to look at."""
        picture = array_of(self.picture) if isinstance(self.picture, Tensor) else self.picture
        shown = smaller(picture, lambda height, width: within(height, width, longest)).float() / 255
        mask = self.mask.cpu()
        if isinstance(self.picture, Tensor):
            return shown, upsample(mask[None], tuple(shown.shape[-2:]))[0]
        return shown, in_frame(mask, *shown.shape[-2:])


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of pairs (picture, label), in the order in which pictures and labels were given.

    maps: [P, h, w] at the size that the model saw, in [0, 1], or signed in [-1, 1]. pairs: their pictures and
    labels. probabilities: [B, L] of all labels. layer: the module that was read, or a list of several. pictures:
    those that could be read, as given. names: of the labels. stems: what files made from the pictures are named
    after. skipped: {file: why it could not be read}.

    Iterating gives :class:`Explained`, one per pair.
    """

    maps: Tensor
    pairs: Pairs
    probabilities: Tensor
    layer: nn.Module | list[nn.Module] | None
    method: str = "own"
    pictures: Sequence = ()
    names: Sequence[str] = ()
    stems: Sequence[str] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    signed: bool = False

    def __len__(self) -> int:
        return len(self.maps)

    def __iter__(self) -> Iterator[Explained]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Explained:
        image, label = int(self.pairs.image[index]), int(self.pairs.label[index])
        p = float(self.probabilities[image, label])
        return Explained(self.pictures[image], label, self.names[label], p, self.maps[index])

    def save(self, folder: str | Path, *, longest: int | None = 1024, opacity: float = 0.6) -> list[Path]:
        """Write every map over its picture as a file of `folder`, and return the files.

        Options and errors as those of :func:`cam_utils.front.overlays.save_overlays`.
        """
        from cam_utils.front.overlays import save_overlays  # matplotlib takes a second to import

        shown = [array_of(each) if isinstance(each, Tensor) else each for each in self.pictures]
        longest = None if any(isinstance(each, Tensor) for each in self.pictures) else longest
        how = {"method": self.method, "classes": self.names, "names": self.stems, "signed": self.signed}
        return save_overlays(self, shown, folder, longest=longest, opacity=opacity, **how)

    def table(self) -> pd.DataFrame:
        """Return a row per map: picture, label, name, probability, and the map's mean over the model's square."""
        image = self.pairs.image.tolist()
        label = self.pairs.label.tolist()
        return pd.DataFrame(
            {
                "picture": [self.stems[i] for i in image],
                "label": label,
                "name": [self.names[c] for c in label],
                "probability": self.probabilities[self.pairs.image, self.pairs.label].tolist(),
                "area": self.maps.mean((-2, -1)).tolist(),
            }
        )


def in_frame(mask: Tensor, height: int, width: int) -> Tensor:
    """Return a map [h, w] of a letterboxed picture in its own frame [height, width]; one of that size stays."""
    return mask if mask.shape == (height, width) else unfit(mask[None], height, width)[0]


def array_of(picture: Tensor) -> np.ndarray:
    """Return a prepared picture [C, h, w] as bytes to look at: stretched, and grey unless it has three channels."""
    pixels = picture.detach().float().cpu()
    pixels = pixels if len(pixels) == 3 else pixels.mean(0, keepdim=True)
    return (
        (255 * normalise(pixels.flatten()[None, None])).round().byte().view(*pixels.shape).permute(1, 2, 0).numpy()
    )
