"""Training pictures and their prompts, and everything that reads, arranges or writes pictures."""
