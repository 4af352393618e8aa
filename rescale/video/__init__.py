"""Video: frames in, frames out, sound and all else kept. Needs the extra `video`."""
