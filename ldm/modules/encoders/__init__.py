"""Text encoders: prompts to the features that the UNet attends to."""
