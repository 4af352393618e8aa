"""Embedded networks of an overfitted video: their bundle, the partition into patches, and playback."""
