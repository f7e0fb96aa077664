"""Modules of a model: latents, condition encoders, denoiser. They know tensors, not configs or files."""
