"""Image rescaling and super-resolution."""
