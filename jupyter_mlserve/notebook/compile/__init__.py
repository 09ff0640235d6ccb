"""Compiling fitted models to ONNX in the kernel, and proving that they answer the same."""

from .serialize import NotCompilable, serialize_model

__all__ = ["NotCompilable", "serialize_model"]
