"""The diffusion process, the text-to-image model built on it, and the samplers that draw from it."""
