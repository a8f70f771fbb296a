"""Commands that look at files: checkpoints, learned words, init words."""
