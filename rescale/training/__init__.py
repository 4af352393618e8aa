"""Training: recipes, data, the loop, and the release of a trained network as a shipped one."""
