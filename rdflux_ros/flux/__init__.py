"""The method: what the streets alone decide is computed once and reused for every pose."""
