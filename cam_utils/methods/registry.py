"""The methods by name. A method is a callable: it gets a :class:`cam_utils.methods.query.Query` and returns
rectified maps [P, H, W], one per pair, at any resolution. A new method is a function and a line here; one
that is not here can be given to `explain`, `evaluate` and `sanity` as it is.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cam_utils.files import fingerprint
from cam_utils.methods import cams, fewer_forwards, scorecam, smoothing, sscam
from cam_utils.methods.closed_forms import without_backward
from cam_utils.methods.query import Query
from cam_utils.methods.representative_cam import representative_cam
from cam_utils.names import check_known

Method = Callable[[Query], Tensor]
# A method with the options that it has in a run: {"ss-cam": {"draws": 4}}; of a callable only its name is known.
Described = dict[str, dict[str, object]]


def _of_weights(form: Callable, name: str, instead: str) -> Method:
    """Return the method that weighs channels by the head's weights: it needs pooling and a linear layer."""

    def method(query: Query) -> Tensor:
        try:
            weights = query.weights
        except ValueError as error:
            raise ValueError(f"{name} {error}; its gradient form works on any head ({instead})") from error
        return form(query.activations, weights, query.pairs, relu=query.relu)

    return method


def _of_gradients(form: Callable) -> Method:
    """Return the method that weighs channels by gradients: without a backward where the head is known."""

    def method(query: Query) -> Tensor:
        if query.known_head is not None:
            return without_backward(form, query.activations, query.known_head, query.pairs, relu=query.relu)
        return form(query.activations, query.gradients, query.pairs, relu=query.relu)

    return method


@torch.no_grad()
def score_cam(query: Query, *, channels: int | None = None, clusters: int | None = None, seed: int = 0) -> Tensor:
    """Return :func:`cam_utils.methods.scorecam.score_cam` of the query's pairs.

    channels, clusters: approximations with at most so many forwards per image, off by default
    (:mod:`cam_utils.methods.fewer_forwards`); `seed` is of the clusters. Raises ValueError for both at once, and
    for what is no whole number from 1.
    """
    if channels is not None and clusters is not None:
        raise ValueError(f"expected channels or clusters, got both: {channels} and {clusters}")
    activations = query.activations
    if channels is not None:
        activations = fewer_forwards.strongest(activations, channels)
    elif clusters is not None:
        activations = fewer_forwards.clustered(activations, clusters, seed)
    return scorecam.score_cam(
        query.images, activations, query.pairs, query.score, chunk=query.chunk, relu=query.relu
    )


def ss_cam(query: Query, *, reading: str = "printed", **options: object) -> Tensor:
    """Return :func:`cam_utils.methods.sscam.ss_cam` of the query's pairs: by default the paper's Algorithm 1.

    reading: a name of :data:`cam_utils.methods.smoothing.READINGS`, such as "authors-2020-06". Options: those of
    :class:`cam_utils.methods.smoothing.Smoothing`, in place of the reading's own. Every named image has noise of
    its own, by `seed`.
    """
    return _smoothed(query, smoothing.reading(reading, **options))


def ss_cam_mean(query: Query, **options: object) -> Tensor:
    """Return Approach 1 of SS-CAM, the mean over noisy masks, none of them inverted. Options: as :func:`ss_cam`."""
    return _smoothed(query, smoothing.reading("approach-1", **options))


@torch.no_grad()
def _smoothed(query: Query, how: smoothing.Smoothing) -> Tensor:
    if query.ids is not None and isinstance(how.seed, int):
        how = replace(how, seed=smoothing.image_seeds(how.seed, query.ids))
    place = (query.images, query.activations, query.pairs, query.score)
    return sscam.ss_cam(*place, how, weights=query.signs, chunk=query.chunk, relu=query.relu)


# Every method by its name; `explain`, `evaluate` and the chapters take these.
METHODS: dict[str, Method] = {
    "cam": _of_weights(cams.cam, "cam", "grad-cam"),
    "minmax-cam": _of_weights(cams.minmax_cam, "minmax-cam", "minmax-grad-cam"),
    "d-minmax-cam": _of_weights(cams.d_minmax_cam, "d-minmax-cam", "d-minmax-grad-cam"),
    "grad-cam": _of_gradients(cams.grad_cam),
    "grad-cam++": _of_gradients(cams.grad_cam_pp),
    "minmax-grad-cam": _of_gradients(cams.minmax_grad_cam),
    "d-minmax-grad-cam": _of_gradients(cams.d_minmax_grad_cam),
    "score-cam": score_cam,
    "ss-cam": ss_cam,
    "ss-cam-mean": ss_cam_mean,
    "representative-cam": representative_cam,
}
NEEDS_LINEAR_HEAD = ("cam", "minmax-cam", "d-minmax-cam")
MASKED = ("score-cam", "ss-cam", "ss-cam-mean")  # a forward per channel, or many
# These read what one forward left: no module runs again, but in a backward.
ONE_FORWARD = tuple(name for name in METHODS if name not in (*MASKED, "representative-cam"))
COSTLY = ("ss-cam", "ss-cam-mean")  # many forwards per channel and label
# The map depends on which other labels are explained; that of all others on the image and the label alone.
OF_SETS = ("minmax-cam", "d-minmax-cam", "minmax-grad-cam", "d-minmax-grad-cam")
SIGNED = tuple(name for name in METHODS if name != "representative-cam")  # its fusion is of rectified maps
OF_LABEL_ALONE = frozenset(METHODS) - set(OF_SETS)


def method(name: str, **options: object) -> Method:
    """Return the named method with options of its own, such as `method("ss-cam", draws=4)`.

    Raises ValueError for an unknown method, or an option that it does not have.

    >>> method("ss-cam", drawz=4)
    Traceback (most recent call last):
        ...
    ValueError: unknown option of ss-cam 'drawz'; did you mean 'draws'? (valid: reading, draws, sigma, unit, \
relative, reduce, noise, scaled, signed, rescore, subtract, baseline, softmax, weighted, seed)
    """
    function = METHODS[check_known("method", name, METHODS)]
    known = [k for k, p in inspect.signature(function).parameters.items() if p.kind == p.KEYWORD_ONLY]
    if name in COSTLY:
        known = [*(["reading"] if name == "ss-cam" else []), *smoothing.OPTIONS]
    for option in options:
        check_known(f"option of {name}", option, known)
    return partial(function, **options) if options else function


def resolved(
    methods: str | Method | Iterable | Mapping[str, object],
    known: Mapping[str, Method] = METHODS,
) -> dict[str, Method]:
    """Return {name: method} of one method or several, each a name of `known` or a callable.

    A callable's name is that of :func:`name_of`; a mapping names them itself. Raises ValueError for an unknown
    name, for two of one name, for what is neither name nor callable, and if there is none.

    >>> def my_own(query): ...
    >>> list(resolved(["cam", my_own, method("ss-cam", draws=4)])), list(resolved({"mine": my_own}))
    (['cam', 'my-own', 'ss-cam'], ['mine'])
    """
    if isinstance(methods, Mapping):
        named = list(methods.items())
    else:
        one = isinstance(methods, str) or callable(methods) or not isinstance(methods, Iterable)
        several = [methods] if one else list(methods)
        named = [(name_of(each) if callable(each) else each, each) for each in several]
    if not named:
        raise ValueError(f"expected at least one method (valid: {', '.join(known)})")
    found: dict[str, Method] = {}
    for name, each in named:
        if not isinstance(each, str) and not callable(each):
            raise ValueError(f"expected a method's name or a callable, got {each!r} ({type(each).__name__})")
        if name in found:
            raise ValueError(
                f"two methods are named {name!r}: give a mapping {{name: method}} that tells them apart"
            )
        if callable(each) and name in known and _plain(each) is not known[name]:
            raise ValueError(f"expected a new name for a method of your own, got {name!r}, which is one of ours")
        found[name] = known[check_known("method", each, known)] if isinstance(each, str) else each
    return found


def name_of(function: Callable) -> str:
    """Return a method's name: its own in METHODS, with or without options, else that of the function."""
    plain = _plain(function)
    own = next((name for name, known in METHODS.items() if known is plain), None)
    return own or getattr(plain, "__name__", type(plain).__name__).replace("_", "-")


def described(methods: Mapping[str, Method]) -> Described:
    """Return what tells methods apart in a stored evaluation: names, and the options that they are given."""
    return {
        name: {k: fingerprint(v) if isinstance(v, Tensor) else v for k, v in getattr(each, "keywords", {}).items()}
        for name, each in methods.items()
    }


def _plain(function: Callable) -> Callable:
    return function.func if isinstance(function, partial) else function
