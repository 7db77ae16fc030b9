"""What evaluate.py measures of a finished run."""
