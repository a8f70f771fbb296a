"""Hostile and damaged files, broken runs and odd flags in numbers: what happens to each."""
