"""Benchmarks: speed as a ratio to a named baseline in the same run; rate and distortion of video."""
