"""Playing an overfitted video: the networks that it carries, and which patch each restores."""
