"""A finished run into what a repository holds of it: weights of half precision without places, and their card."""
