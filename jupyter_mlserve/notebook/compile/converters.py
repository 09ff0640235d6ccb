"""All modules that register converters, imported for that."""

from . import (
    compose,
    encoders,
    forests,
    hashing,
    histogram,
    image,
    kernels,
    lightgbm_trees,
    linear,
    meta,
    scalers,
    sentiment,
    small,
    splines,
    text,
    xgboost_trees,
)

__all__ = [
    "compose",
    "encoders",
    "forests",
    "hashing",
    "histogram",
    "image",
    "kernels",
    "lightgbm_trees",
    "linear",
    "meta",
    "scalers",
    "sentiment",
    "small",
    "splines",
    "text",
    "xgboost_trees",
]
