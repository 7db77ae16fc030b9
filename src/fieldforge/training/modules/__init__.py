"""A Lightning module for each kind of stage."""
