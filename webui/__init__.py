"""A page in the browser to learn words on and to draw with them: python -m webui, or make web."""
