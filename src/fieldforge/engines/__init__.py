"""Where large work that is no training is computed: on this machine, or on many."""
