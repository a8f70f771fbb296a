"""Checkpoints of random weights, for measuring time and memory where quality does not matter."""
