"""Faults, looked for: each module tries one kind of bad luck or bad input many times."""
