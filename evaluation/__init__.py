"""Commands that measure how good learned words are, and the measures they share."""
