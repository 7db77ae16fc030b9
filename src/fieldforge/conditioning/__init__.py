"""What steers the shape: class, text, image."""
