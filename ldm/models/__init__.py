"""Whole models, made of the parts in ldm.modules: the autoencoder and the diffusion models."""
