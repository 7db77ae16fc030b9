"""Requests of sample.py, and the files of their results."""
