"""Probability distributions that networks predict."""
