"""From whatever a model returns to numbers [B, T]: logits picked out of it, or any other target to explain."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn


class NotLogits(ValueError):
    """The model returns something else than logits [B, L]."""


class Answers(nn.Module):
    """A model, and how its answer becomes numbers [B, T]; :func:`cam_utils.explain` wraps a model in it if need be.

    output: where the logits are in what the model returns: a key, an index, an attribute or a callable; None takes
    a tensor as it is, and from anything else its `logits`. target: a callable from these logits to the numbers that
    are explained, [B] or [B, T]. inputs: what the model is given besides the images: a tuple of further
    arguments, or a mapping of named ones; a tensor of one image's input serves any number of masked copies of it.

    Raises NotLogits, a ValueError, where the numbers are not found or have another shape.

    >>> import torch
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    >>> Answers(net, target=lambda logits: logits[:, 0] - logits[:, 1])(torch.zeros(4, 3, 1, 1)).shape
    torch.Size([4, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        output: str | int | Callable | None = None,
        target: Callable[[Tensor], Tensor] | None = None,
        inputs: Sequence | Mapping | None = None,
    ) -> None:
        super().__init__()
        self.model, self.output, self.target, self.inputs = model, output, target, () if inputs is None else inputs
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the numbers [B, T] for images [B, C, h, w]."""

        def fitting(value: object) -> object:
            one = isinstance(value, Tensor) and value.dim() > 0 and len(value) == 1 < len(images)
            return value.expand(len(images), *value.shape[1:]) if one else value

        named = isinstance(self.inputs, Mapping)
        result = (
            self.model(images, **{name: fitting(value) for name, value in self.inputs.items()})
            if named
            else self.model(images, *map(fitting, self.inputs))
        )
        return self._numbers(self._picked(result), len(images))

    def _picked(self, result: object) -> object:
        if callable(self.output):
            return self.output(result)
        key = self.output
        if key is None:
            if isinstance(result, Tensor):
                return result
            key = "logits"
        try:
            if isinstance(key, str) and not isinstance(result, Mapping):
                return getattr(result, key)
            return result[key]
        except (KeyError, IndexError, AttributeError, TypeError) as error:
            asked = "say which part with output=" if self.output is None else f"it has no output {key!r}"
            raise NotLogits(
                f"expected logits (B,L) from {type(self.model).__name__}, but it returns {told(result)}: {asked}"
            ) from error

    def _numbers(self, found: object, count: int) -> Tensor:
        of = "the target" if self.target is not None else type(self.model).__name__
        if self.target is not None:
            found = self.target(found)
        if isinstance(found, Tensor) and found.dim() < 2 and found.numel() == count:
            found = found.reshape(count, 1)
        elif isinstance(found, Tensor) and found.dim() > 2 and found[0, 0].numel() == 1:
            found = found.flatten(1)  # [B, L, 1, 1] of a network that convolves to its end
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != count or not found.shape[1]:
            hint = "" if self.target is not None else "; a target= callable can make such numbers of it"
            raise NotLogits(
                f"expected numbers (B,L) for {count} images from {of}, a row for each, but got {told(found)}{hint}"
            )
        if not found.is_floating_point():
            raise NotLogits(f"expected floating-point numbers from {of}, got {found.dtype}: they have no gradient")
        return found


def told(result: object) -> str:
    """Return in words what a model returned.

    >>> import torch
    >>> told({"out": torch.zeros(1, 2), "aux": None}), told((torch.zeros(1),))
    ('a dict (out: tensor (1, 2), aux: NoneType)', 'a tuple (tensor (1,))')
    """
    if isinstance(result, Tensor):
        return f"tensor {tuple(result.shape)}"
    what = f"a {type(result).__name__}"
    if isinstance(result, Mapping):
        return f"{what} ({', '.join(f'{key}: {_short(value)}' for key, value in list(result.items())[:6])})"
    if isinstance(result, tuple | list):
        return f"{what} ({', '.join(map(_short, result[:6]))})"
    return what


def _short(value: object) -> str:
    return f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
