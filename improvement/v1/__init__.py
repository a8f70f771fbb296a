"""v1: an adapter and transformer layers behind the text encoder, learned together with the word."""
