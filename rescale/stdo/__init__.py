"""STDO (2303.08331): overfit small networks to one video, so that they travel with it and restore it."""
