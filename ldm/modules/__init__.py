"""Parts of models: attention, UNet, text transformer, learned words, averaged weights."""
