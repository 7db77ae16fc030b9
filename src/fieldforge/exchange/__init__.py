"""Weights in the layouts of other houses ⇄ ours."""
