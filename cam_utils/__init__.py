"""Class activation maps for several labels per image: methods, metrics and protocols of three papers.

Start at :func:`cam_utils.front.explain.explain` (one call: a classifier and images in, one map per label out), or
read :mod:`cam_utils.methods.cams`, where each method is a few lines under its equation.
"""

__version__ = "0.1.0"
