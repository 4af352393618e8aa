"""Batches of files: plan, run, resume and summarise them."""
