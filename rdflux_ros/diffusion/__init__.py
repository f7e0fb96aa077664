"""The mathematics of decoupled diffusion: pure functions over an explicit schedule, noise passed in."""
