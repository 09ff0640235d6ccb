"""Transformers for authors: what a realtime service can do to texts and images."""
