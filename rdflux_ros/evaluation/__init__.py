"""Metrics, controls, the replay of recorded flights and benchmarks."""
