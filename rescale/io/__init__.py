"""Image files: one door to read, one to write, and the record in the low-resolution (LR) file."""
