"""Video input and output: containers, frames, colour, encoders, segments, muxing."""
