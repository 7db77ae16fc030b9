"""The processes of a training: launchers, ranks, strategies, signals, checkpoints."""
