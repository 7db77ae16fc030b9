"""What sample.py is asked for, and the files of the answers."""
