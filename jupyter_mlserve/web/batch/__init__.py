"""Batch executions: many records, sent at once, answered in the background."""
