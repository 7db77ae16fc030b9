"""Callbacks: budget, moving averages, checkpoints, rollback, metrics, pictures."""
