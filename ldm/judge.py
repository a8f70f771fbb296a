"""Similarities in CLIP space: how textual inversion is measured (Gal et al., arXiv 2208.01618, section 5)."""

from __future__ import annotations

import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel
from transformers.utils import logging

from ldm.pretrained import from_pretrained


class CLIPEvaluator:
    """Cosine similarities between pictures, and between texts and pictures, in the space of a CLIP.

    name_or_folder is a hub name such as "openai/clip-vit-base-patch32", or a folder that holds such a model.
    """

    def __init__(self, name_or_folder: str, device: torch.device | str = "cpu", batch_size: int = 64):
        self.batch_size = batch_size
        logging.disable_progress_bar()
        self.model = from_pretrained(CLIPModel, name_or_folder, "CLIP", weights_only=True, dtype=torch.float32).eval()
        self.model.to(device)
        self.processor = from_pretrained(CLIPImageProcessor, name_or_folder, "CLIP")
        self.tokenizer = from_pretrained(AutoTokenizer, name_or_folder, "CLIP")

    @property
    def device(self) -> torch.device:
        """Where the CLIP runs."""
        return self.model.device

    @torch.no_grad()
    def encode_images(self, images: list[Image.Image]) -> torch.Tensor:
        """Unit vectors [N, D] on the CPU of N pictures."""
        parts = []
        for start in range(0, len(images), self.batch_size):
            pixels = self.processor(images[start : start + self.batch_size], return_tensors="pt")["pixel_values"]
            vision = self.model.vision_model(pixels.to(self.device)).pooler_output
            parts.append(self.model.visual_projection(vision).cpu())
        return torch.nn.functional.normalize(torch.cat(parts), dim=1)

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors [N, D] on the CPU of N texts."""
        parts = []
        length = self.model.config.text_config.max_position_embeddings
        for start in range(0, len(texts), self.batch_size):
            ids = self.tokenizer(texts[start : start + self.batch_size], padding="max_length", truncation=True,
                                 max_length=length, return_tensors="pt")["input_ids"]
            text = self.model.text_model(ids.to(self.device)).pooler_output
            parts.append(self.model.text_projection(text).cpu())
        return torch.nn.functional.normalize(torch.cat(parts), dim=1)

    def img_to_img_similarity(self, source: list[Image.Image], generated: list[Image.Image]) -> torch.Tensor:
        """For each generated picture, its mean cosine similarity [N] to the source pictures: fidelity (CLIP-I)."""
        return (self.encode_images(generated) @ self.encode_images(source).T).mean(dim=1)

    def txt_to_img_similarity(self, text: str | list[str], generated: list[Image.Image]) -> torch.Tensor:
        """Cosine similarity [N] of each generated picture to the text, or to its own text: editability (CLIP-T)."""
        texts = [text] * len(generated) if isinstance(text, str) else text
        if len(texts) != len(generated):
            raise ValueError(f"{len(texts)} texts for {len(generated)} pictures")
        return (self.encode_images(generated) * self.encode_text(texts)).sum(dim=1)
