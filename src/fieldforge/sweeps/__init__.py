"""Many trainings as one: grids, searches with Optuna, pruning, and the table at the end."""
