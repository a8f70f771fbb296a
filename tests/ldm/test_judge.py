"""Similarities in CLIP space."""

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel

from ldm.errors import UserError
from ldm.judge import CLIPEvaluator
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP with random weights, saved as any other."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models/ldm/emoji/tokenizer")
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(
        text_config={**tower, "vocab_size": len(tokenizer), "max_position_embeddings": 16,
                     "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.cls_token_id,
                     "eos_token_id": tokenizer.sep_token_id},
        vision_config={**tower, "image_size": 32, "patch_size": 8}, projection_dim=24)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False).save_pretrained(folder)
    return str(folder)


def pictures(n: int) -> list[Image.Image]:
    return [Image.new("RGB", (40 + i, 40), (37 * i % 256, 80, 255 - 50 * i % 256)) for i in range(n)]


def test_features_are_unit_vectors_and_do_not_depend_on_the_batch(clip_folder):
    one, many = CLIPEvaluator(clip_folder, batch_size=1), CLIPEvaluator(clip_folder, batch_size=5)
    a, b = one.encode_images(pictures(5)), many.encode_images(pictures(5))
    assert a.shape == (5, 24) and torch.allclose(a.norm(dim=1), torch.ones(5)) and torch.allclose(a, b, atol=1e-5)
    texts = ["a red apple", "a photo of a tiger on a very blue background", ""]
    assert torch.allclose(one.encode_text(texts), many.encode_text(texts), atol=1e-5)


def test_similarities(clip_folder):
    clip, some = CLIPEvaluator(clip_folder), pictures(3)
    assert torch.allclose(clip.img_to_img_similarity(some[:1], some[:1]), torch.ones(1), atol=1e-5)
    expected = (clip.encode_images(some[2:]) @ clip.encode_images(some[:2]).T).mean()
    assert torch.allclose(clip.img_to_img_similarity(some[:2], some[2:]), expected, atol=1e-6)
    own = clip.txt_to_img_similarity(["a cat", "a dog", "a cat"], some)
    assert torch.allclose(own[[0, 2]], clip.txt_to_img_similarity("a cat", [some[0], some[2]]), atol=1e-5)
    with pytest.raises(ValueError, match="2 texts for 3 pictures"):
        clip.txt_to_img_similarity(["a cat", "a dog"], some)


def test_a_folder_without_a_clip_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=f"CLIP .{tmp_path}. is neither a folder"):
        CLIPEvaluator(str(tmp_path))
