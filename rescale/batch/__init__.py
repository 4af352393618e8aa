"""Many files: what is to be done, done, resumed and summed up."""
