"""Video files in and out: containers, frames, colour, encoders, segments, muxing."""
