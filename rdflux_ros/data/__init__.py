"""Datasets in, datasets made: typed samples with arrays whose row 0 is in the south."""
