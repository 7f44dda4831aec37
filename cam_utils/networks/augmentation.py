"""Random changes of training images: batches [B, 3, h, w] in [0, 1], one draw per image, from a generator."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def _uniform(images: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    draw = torch.rand(len(images), 1, 1, 1, generator=generator) * (high - low) + low
    return draw.to(images.device)


def colour(images: Tensor, generator: Generator, *, contrast, saturation) -> Tensor:
    """Return images with contrast about their mean and saturation about their grey scaled by random factors.

    >>> grey = torch.full((1, 3, 2, 2), 0.5)
    >>> torch.allclose(colour(grey, Generator(), contrast=(0.5, 1.5), saturation=(0.0, 1.0)), grey)
    True
    """
    mean = images.mean((-2, -1), keepdim=True)
    images = mean + _uniform(images, *contrast, generator) * (images - mean)
    grey = (images * images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    return grey + _uniform(images, *saturation, generator) * (images - grey)


def photo(images: Tensor, generator: Generator) -> Tensor:
    """Return the official notebooks' augmentation: both flips, contrast in [0.5, 1.5], saturation in [0.2, 1].

    Their brightness and hue deltas had no effect on float pixels (deviation dev-augmentation) and are left out.
    """
    images = flip(flip(images, generator), generator, -2)
    return colour(images, generator, contrast=(0.5, 1.5), saturation=(0.2, 1.0))


def digits(images: Tensor, generator: Generator, shift: int = 4) -> Tensor:
    """Return images shifted by up to `shift` pixels (edges repeated) with mild colour changes; never flipped.

    A mirrored digit is another sign, so the photographs' flips would change the label.
    """
    size = images.shape[-1]
    padded = F.pad(images, [shift] * 4, mode="replicate")
    offsets = torch.randint(0, 2 * shift + 1, (2, len(images), 1), generator=generator).to(images.device)
    rows, columns = (torch.arange(size, device=images.device) + o for o in offsets)  # [B, size] each
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]  # [B, size, size, 3]
    return colour(shifted.permute(0, 3, 1, 2), generator, contrast=(0.8, 1.2), saturation=(0.6, 1.4))


def flip(images: Tensor, generator: Generator, dim: int = -1) -> Tensor:
    """Return half of the images mirrored, left to right or along another `dim`."""
    return torch.where(_uniform(images, 0.0, 1.0, generator) < 0.5, images.flip(dim), images)


def none(images: Tensor, generator: Generator) -> Tensor:
    """Return the images unchanged."""
    return images


AUGMENTATIONS = {"photo": photo, "digits": digits, "flip": flip, "none": none}
