"""Realtime services: compiled models, scored in the compute node without an interpreter."""
