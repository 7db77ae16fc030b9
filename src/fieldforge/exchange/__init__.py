"""Weights of others: their names and layouts ⇄ ours, and their files, read as data only."""
