"""Training: recipes, data, the loop, and how a trained network becomes a shipped one."""
