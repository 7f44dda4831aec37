"""Class activation maps for several labels per image: methods, metrics and protocols of three papers.

Start at :func:`explain` (one call: a classifier and images in, one map per label out), or read
:mod:`cam_utils.methods.cams`, where each method is a few lines under its equation.

>>> from cam_utils import explain, evaluate, load_model
>>> explain.__module__
'cam_utils.front.explain'
"""

import importlib

__all__ = ["evaluate", "explain", "load_model"]
# Name -> where it lives; imported on use, so that who reads a table need not wait for torch.
_PUBLIC = {
    "evaluate": "cam_utils.front.scores",
    "explain": "cam_utils.front.explain",
    "load_model": "cam_utils.front.model_loading",
}


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name == "__version__":  # pyproject.toml alone says it
        return importlib.import_module("importlib.metadata").version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
