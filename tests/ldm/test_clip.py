"""Stable Diffusion's text encoder: names and shapes, what CLIP makes of a prompt, how a learned word enters."""

import json
import re

import pytest
import torch

import load
from ldm.errors import UserError
from ldm.modules.encoders.modules import FrozenCLIPEmbedder
from ldm.modules.meta import without_weights
from ldm.prompts import parse_prompt
from tests.conftest import ROOT
from tests.models import clip_tokenizer, lively

SIZES = {"n_embed": 16, "n_layer": 2, "n_head": 2, "n_hidden": 32, "vocab_size": 600}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "tokenizer"
    clip_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return lively(FrozenCLIPEmbedder(str(tokenizer), **SIZES))


def manager_of(encoder, *names, vectors=1):
    return load.instantiate_from_config({"target": "ldm.modules.embedding_manager.EmbeddingManager", "params": {
        "placeholder_strings": list(names), "num_vectors_per_token": vectors}}, embedder=encoder)


@pytest.mark.parametrize("config", ["v1-finetune.yaml", "v1-inference.yaml"])
def test_names_and_shapes_are_those_of_stable_diffusions_checkpoints(config, tokenizer):
    """Of UNet and autoencoder they are latent diffusion's, but for the width of the prompt's features."""
    published = {n: shape for n, (shape, _) in json.loads(
        (ROOT / "tests/golden/text2img-large.keys.json").read_text()).items() if not n.startswith("cond_stage_model.")}
    published = {n: [shape[0], 768] if re.search(r"attn2\.to_[kv]\.weight$", n) else shape
                 for n, shape in published.items()}
    published |= json.loads((ROOT / "tests/golden/stable-diffusion-v1.text.keys.json").read_text())
    config = load.load_config(ROOT / "configs/stable-diffusion" / config)
    config.model.params.cond_stage_config.params.version = str(tokenizer)
    model = load.meta_model(config, None)
    own = {n: list(v.shape) for n, v in model.state_dict().items() if not n.startswith("embedding_manager.")}
    positions = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    assert own == {n: shape for n, shape in published.items() if n != positions}
    missing, unexpected, misshapen = load.compare_state(model, {n: torch.empty(shape, device="meta")
                                                                for n, shape in published.items()})
    assert missing == unexpected == misshapen == []
    assert model.parameterization == "eps" and model.scale_factor == 0.18215 and model.guidance_scale == 7.5
    assert 8.5e8 < sum(p.numel() for p in model.model.parameters()) < 8.7e8
    assert model.embedding_manager.dim == 768


def test_without_weights_it_takes_no_memory_and_its_positions_are_there(tokenizer, encoder):
    with without_weights():
        bare = FrozenCLIPEmbedder(str(tokenizer), **SIZES)
    assert all(p.is_meta for p in bare.parameters())
    bare.load_state_dict(encoder.state_dict(), assign=True)
    assert not any(t.is_meta for t in [*bare.parameters(), *bare.buffers()])
    assert torch.equal(bare.encode(["a photo of a cat"]), encoder.encode(["a photo of a cat"]))


def test_features_are_what_transformers_makes_of_a_prompt(encoder, tokenizer):
    """Of the same weights, through CLIPTextModel as it is, and CLIPTokenizer as it is."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    clip = CLIPTextModel(CLIPTextConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                        intermediate_size=32, vocab_size=600, bos_token_id=0, eos_token_id=1)).eval()
    weights = {n.removeprefix("transformer.text_model."): w for n, w in encoder.state_dict().items()}
    getattr(clip, "text_model", clip).load_state_dict(weights)
    prompts = ["a photo of a cat", "", "A Cat's SCULPTURE, 3x!", "of " * 100]
    tokens = CLIPTokenizer.from_pretrained(tokenizer)(prompts, padding="max_length", max_length=77, truncation=True,
                                                      return_tensors="pt")["input_ids"]
    with pytest.warns(UserWarning, match="102 tokens and 77 fit"):
        assert torch.equal(encoder.tokenize(prompts, {}), tokens)
        assert torch.equal(encoder.encode(prompts), clip(tokens).last_hidden_state)


def test_the_files_of_a_tokenizer_of_2022(tokenizer, encoder, tmp_path):
    made = clip_tokenizer()
    made.backend_tokenizer.model.save(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>", "add_prefix_space": False, "errors": "x",
        "bos_token": {"__type": "AddedToken", "content": "<|startoftext|>", "lstrip": False, "normalized": True,
                      "rstrip": False, "single_word": False}, "do_lower_case": True, "model_max_length": 77}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["merges.txt", "tokenizer_config.json", "vocab.json"]
    older = FrozenCLIPEmbedder(str(tmp_path), **SIZES)
    prompts = ["a photo of a cat", "", "A Sculpture!"]
    assert torch.equal(older.tokenize(prompts, {}), encoder.tokenize(prompts, {}))


@pytest.mark.parametrize("name", ["*", "<my-cat>", "sks", "고양이"])
def test_a_learned_word_takes_its_tokens_place(encoder, name):
    manager = manager_of(encoder, name, vectors=2)
    table = encoder.token_embeddings
    words = encoder.word_ids("photo") + encoder.word_ids("sculpture")
    with torch.no_grad():
        manager.string_to_param_dict[name].copy_(table.weight[words])
        features = encoder.encode([f"a {name}, of"], embedding_manager=manager)
        # the comma is cut from the word, and so is one of its own
        tokens = encoder.tokenize(f"a {name}, of", manager.placeholder_ids())[0].tolist()
        place = tokens.index(int(manager.string_to_token_dict[name]))
        plain = torch.tensor([tokens[:place] + words + tokens[place + 1 : -1]])
        assert torch.allclose(features, encoder.features(plain), atol=1e-6)
    assert encoder.token_embeddings._inject is None, "the next prompt is read without"


@pytest.mark.parametrize("prompt", ["a *, red", "*.", "(*)", "2*3", "a * "])
def test_a_sign_is_found_beside_other_signs(encoder, prompt):
    manager = manager_of(encoder, "*")
    assert manager.placeholders_in(prompt) == ["*"]
    assert int(manager.string_to_token_dict["*"]) == encoder.word_ids("*")[0], "the vocabulary's own, as published"


def test_gradients_reach_the_word_alone(encoder):
    manager = manager_of(encoder, "<x>")
    encoder.requires_grad_(False)
    encoder.encode(["a <x>", "of a <x> <x>"], embedding_manager=manager).square().mean().backward()
    assert manager.string_to_param_dict["<x>"].grad.abs().sum() > 0
    assert all(p.grad is None for p in encoder.parameters())


def test_what_does_not_fit_is_named(tokenizer):
    with pytest.raises(UserError, match="n_embed=16: must be a multiple of n_head, 3"):
        load.instantiate_from_config({"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                                      "params": SIZES | {"n_head": 3}})
    with pytest.raises(UserError, match="has 5[0-9]+ tokens, the text encoder 100: they do not belong together"):
        _ = FrozenCLIPEmbedder(str(tokenizer), **SIZES | {"vocab_size": 100}).tknz_fn
    with pytest.raises(UserError, match="tokenizer .* is neither a folder with one"):
        _ = FrozenCLIPEmbedder(str(tokenizer.parent), **SIZES).tknz_fn


def test_weights_go_to_the_words_pieces(encoder):
    manager = manager_of(encoder, "<cat-toy>", vectors=2)
    read = parse_prompt("a (photo:2) of a <cat-toy> and a (<cat-toy>:2)", manager.placeholder_ids())
    weights = encoder.token_weights(read, manager.placeholder_ids())
    pieces = encoder.tknz_fn.pieces(encoder.tokenize(read.text, manager.placeholder_ids())[0].tolist(),
                                    manager.placeholder_ids())
    assert "".join(p for p, w in zip(pieces, weights, strict=True) if w == 2) == "photo</w><cat-toy>"
    with torch.no_grad():
        plain, weighted = encoder.encode([read.text, read], embedding_manager=manager)
    ratios = weighted.norm(dim=-1) / plain.norm(dim=-1)
    assert int((ratios > 1.3).sum()) == weights.count(2) + 1, "both vectors of the last word"
