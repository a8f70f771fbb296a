"""The judge under the name that the published code has for it."""

from ldm.judge import CLIPEvaluator

__all__ = ["CLIPEvaluator"]
