"""The UNet and the autoencoder's two halves, under the names published checkpoints have for them."""
