"""Measurements of evaluate.py on a finished run."""
