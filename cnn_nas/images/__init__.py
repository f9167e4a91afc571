"""Image data: where it comes from, how it is split, batched and varied, and what is measured on it."""
