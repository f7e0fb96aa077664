"""A model as a product: its typed config, its networks, its file and its card."""
