"""Image files in and out: one door to read, one to write, and the record in the low-resolution file."""
