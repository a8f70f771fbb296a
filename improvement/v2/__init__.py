"""v2: a multilingual transformer and an aligner before the text encoder, so that prompts may be in any language."""
