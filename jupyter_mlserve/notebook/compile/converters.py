"""All modules that register converters, imported for that."""

from . import (
    compose,
    encoders,
    forests,
    histogram,
    kernels,
    lightgbm_trees,
    linear,
    meta,
    scalers,
    small,
    text,
    xgboost_trees,
)

__all__ = [
    "compose",
    "encoders",
    "forests",
    "histogram",
    "kernels",
    "lightgbm_trees",
    "linear",
    "meta",
    "scalers",
    "small",
    "text",
    "xgboost_trees",
]
