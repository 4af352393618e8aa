"""Speed as a ratio in one run against a named baseline; rate and distortion of video."""
