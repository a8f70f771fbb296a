"""Latent diffusion with learned words: networks, samplers, data, and what every command stands on."""

from ldm.interrupt import install

install()
