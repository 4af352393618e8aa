"""Inference: run a model on images of any size and on files, refine LR images, optimise networks."""
