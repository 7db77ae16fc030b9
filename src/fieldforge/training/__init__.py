"""Lightning modules, optimisation, checkpoints, callbacks."""
