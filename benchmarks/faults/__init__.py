"""Trials of what goes wrong for people: files from strangers, odd pictures, odd prompts; each in a watched process."""
