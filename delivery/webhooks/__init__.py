"""Outcome webhooks: what came of pushes is told to applications, in signed batches that are kept until they arrive."""
