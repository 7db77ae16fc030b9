"""What watches a training: budget, averages, checkpoints, recovery, metrics, pictures."""
