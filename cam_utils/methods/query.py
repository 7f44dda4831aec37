"""What a method is given: a batch, one forward of it, and the pairs (image, label) to explain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor, nn

from cam_utils.methods.closed_forms import PixelHead, linear_head, pixel_head
from cam_utils.networks.capture import Capture, capture, evaluation_mode
from cam_utils.networks.gradients import head_gradients
from cam_utils.networks.predictions import scoring
from cam_utils.pairs import Pairs


@dataclass(frozen=True, eq=False)
class Query:
    """One question to all methods. What several of them need is computed once, when it is first read.

    model: the classifier, in evaluation mode. images: [B, 3, h, w] as it expects them. captured: the logits [B, L]
    and the activations [B, K, H, W] of `layer`, one forward of the batch. pairs: what to explain, P pairs.
    score: from images [N, 3, h, w] to probabilities [N, L]. chunk: masked images per forward (None: what suits the
    device). ids: the images' names, by which random numbers differ from image to image (None: they do not). relu:
    whether maps are rectified, as the papers print them, or signed.
    """

    model: nn.Module
    images: Tensor
    captured: Capture
    pairs: Pairs
    layer: nn.Module
    score: Callable[[Tensor], Tensor]
    chunk: int | None = None
    ids: Sequence[str] | None = None
    relu: bool = True

    def about(self, pairs: Pairs) -> "Query":
        """Return the same question about other pairs of the batch."""
        return replace(self, pairs=pairs)

    @property
    def activations(self) -> Tensor:
        """The layer's activations A [B, K, H, W]."""
        return full(self.captured.activations.detach())

    @property
    def logits(self) -> Tensor:
        """The logits S [B, L]."""
        return full(self.captured.logits.detach())

    @cached_property
    def linear_weights(self) -> Tensor | None:
        """The weights [L, K] of a head of global average pooling and one linear layer, None for other heads.

        Proven for the labels of the pairs: :func:`cam_utils.methods.closed_forms.linear_head`.
        """
        weights = linear_head(self.model, self.captured, self.pairs.label)
        return None if weights is None else full(weights)

    @property
    def weights(self) -> Tensor:
        """The same, of methods that cannot do without. Raises ValueError for other heads."""
        if self.linear_weights is None:
            raise ValueError(
                "needs global average pooling and one linear layer behind the chosen layer, which "
                f"{type(self.model).__name__} does not have"
            )
        return self.linear_weights

    @cached_property
    def known_head(self) -> PixelHead | None:
        """The head of the pairs if its gradients need no backward, else None."""
        if self.linear_weights is not None:
            return PixelHead.linear(self.linear_weights[self.pairs.label])
        head = pixel_head(self.model, self.captured, self.pairs)
        return None if head is None else head._replace(weights=full(head.weights), fraction=full(head.fraction))

    @cached_property
    def gradients(self) -> Tensor:
        """The gradients dS_c/dA [P, K, H, W] of every pair's logit."""
        with evaluation_mode(self.model):  # what is checkpointed runs once more in the backward
            return full(head_gradients(self.captured, self.pairs))

    @cached_property
    def summed_gradients(self) -> Tensor:
        """The gradients summed over the pixels [P, K]: without a backward where the head is known."""
        return self.gradients.sum((-2, -1)) if self.known_head is None else self.known_head.summed

    @property
    def signs(self) -> Tensor:
        """Weights [P, K] whose sign a method needs: the head's, those the model names, else Grad-CAM's.

        SS-CAM's Eq. 15 names a weight that only a linear head has (deviation dev-sscam-weightless-head).
        """
        named = self.model.class_weights() if hasattr(self.model, "class_weights") else None
        weights = named if self.linear_weights is None else self.linear_weights
        return self.summed_gradients if weights is None else weights[self.pairs.label]


def full(values: Tensor) -> Tensor:
    """Return the values in float32 where they have less: sums over pixels and channels need its digits.

    >>> import torch
    >>> [full(torch.zeros(1, dtype=kind)).dtype for kind in (torch.bfloat16, torch.float64)]
    [torch.float32, torch.float64]
    """
    return values.float() if values.dtype.itemsize < 4 else values


def ask(
    model: nn.Module,
    images: Tensor,
    pairs: Pairs,
    *,
    layer: nn.Module | None = None,
    activation: str = "sigmoid",
    chunk: int | None = None,
) -> Query:
    """Return the question about `pairs` of prepared images [B, 3, h, w], read at `layer` (None: model.features)."""
    layer = model.features if layer is None else layer
    captured = capture(model, images, layer, grads=True)
    return Query(model, images, captured, pairs, layer, scoring(model, activation), chunk)


def rectified(maps: object, name: str, pairs: Pairs) -> Tensor:
    """Return a method's maps without their graph. Raises ValueError for those that are no maps of the pairs."""
    if not isinstance(maps, Tensor) or maps.dim() != 3 or len(maps) != len(pairs) or not maps.isfinite().all():
        got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ValueError(f"expected finite maps ({len(pairs)},H,W) from the method {name}, got {got}")
    return maps.detach()
