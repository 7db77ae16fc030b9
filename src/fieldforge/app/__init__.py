"""The page of app.py: what visitors ask for, a line in which they wait, shapes that appear while they are denoised."""
