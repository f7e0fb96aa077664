"""Training: losses, samples and loops that make a model from a dataset."""
