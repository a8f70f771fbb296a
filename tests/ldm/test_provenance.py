"""What a file says of a word's making: kept whole, from strangers only what is sound, compared with the model."""

import base64
import copy
import json

import pytest
import torch

from ldm import provenance
from ldm.embedding_files import Words, read_words, write_words
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.provenance import Provenance, decode_provenance, encode_provenance, weights_identity
from tests.conftest import GOLDEN

SHAPES = {"*": torch.Size([2, 4])}
START = {"shape": [2, 4], "float32": base64.b64encode(torch.arange(8.0).numpy().tobytes()).decode()}


@torch.no_grad()
def test_half_the_precision_is_the_same_model_and_other_weights_are_not(small_model):
    encoder = small_model.cond_stage_model
    identity = weights_identity(encoder)
    assert len(identity) == 16 and weights_identity(copy.deepcopy(encoder).half()) == identity
    for name, parameter in encoder.named_parameters():
        kept = parameter.clone()
        parameter.view(-1)[-1] += 1
        assert weights_identity(encoder) != identity, name
        parameter.copy_(kept)
        assert weights_identity(encoder) == identity
    longer = torch.cat([encoder.transformer.token_emb.weight, torch.ones(1, 16)])
    encoder.transformer.token_emb.weight = torch.nn.Parameter(longer)
    assert weights_identity(encoder) != identity


def test_its_identity_does_not_change_from_version_to_version(shared_small_model):
    assert weights_identity(shared_small_model.cond_stage_model) == "b5e27d4ea1e429c2"


@pytest.mark.parametrize("entry, field", [
    ({"step": -1}, "step"), ({"step": 2**63}, "step"), ({"step": True}, "step"), ({"step": "3"}, "step"),
    ({"rate": "0.1"}, "rate"), ({"init_word": 5}, "init_word"), ({"init_word": "x" * 201}, "init_word"),
    ({"start": 3}, "start"), ({"start": {}}, "start"), ({"start": {"float32": "!"}}, "start"),
    ({"start": {"float32": "AAAA"}}, "start"), ({"start": {"float32": START["float32"][:-12]}}, "start"),
    ({"start": {"float32": base64.b64encode(torch.full((8,), torch.nan).numpy().tobytes()).decode()}}, "start"),
    ({"pictures": "a"}, "pictures"), ({"pictures": [3]}, "pictures"), ({"pictures": ["x" * 65]}, "pictures"),
    ({"pictures": ["x"] * 10_001}, "pictures"), ({"model": None}, "model"), ({"version": []}, "version")])
def test_what_a_stranger_wrote_amiss_is_not_known(entry, field):
    sound = {"text_encoder": "0" * 16, "start": START, "step": 5}
    (known,) = decode_provenance(json.dumps({"*": sound | entry}), SHAPES).values()
    assert getattr(known, field) in (None, ())
    assert known.text_encoder == "0" * 16, "the rest is"
    assert field in ("start", "step") or known.step == 5 and known.start.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("text", [None, 3, "", "{", "[]", '"text"', '{"*": 3}', '{"other": {}}', "[" * 10**5,
                                  '{"*": {"step": ' + "9" * 5000 + "}}", " " * (2**22 + 1)])
def test_what_is_no_provenance_is_none(text):
    assert decode_provenance(text, SHAPES) == {}


def test_start_vectors_that_fill_the_header_are_left_out(monkeypatch):
    known = {"*": Provenance(step=3, start=torch.ones(2, 4))}
    assert "start" in encode_provenance(known)
    monkeypatch.setattr(provenance, "MAX_TEXT", 60)
    assert json.loads(encode_provenance(known)) == {"*": {"step": 3}}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_word_in_another_model_of_the_same_width_is_warned_about_once(shared_small_model, tmp_path, capsys, suffix):
    encoder = shared_small_model.cond_stage_model
    here = weights_identity(encoder)
    for words, text in (({"&": "f" * 16, "*": "f" * 16}, ["& *", "ffff", "model.ckpt", here]), ({"*": here}, []),
                        ({}, []), ({"*": None}, [])):
        file = tmp_path / f"word{suffix}"
        write_words(file, Words({p: torch.ones(1, 16) for p in words or "*"}, provenance={
            p: Provenance(text_encoder=identity, model="model.ckpt") for p, identity in words.items()}))
        EmbeddingManager(encoder, ["*"], ["dog"]).load(file)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == bool(text) and all(part in lines[0] and str(file) in lines[0] for part in text), lines


def test_a_manager_hands_on_what_it_read(shared_small_model, tmp_path):
    manager = EmbeddingManager(shared_small_model.cond_stage_model, ["*"], ["dog"])
    known = Provenance(step=3, start=torch.ones(2, 16), init_word="cat")
    write_words(tmp_path / "a.pt", Words({"*": torch.ones(2, 16)}, provenance={"*": known}))
    manager.load(tmp_path / "a.pt")
    manager.save(tmp_path / "b.safetensors", step=4)
    again = read_words(tmp_path / "b.safetensors").provenance["*"]
    assert (again.step, again.init_word, again.start.tolist()) == (4, "cat", torch.ones(2, 16).tolist())
    manager.load(GOLDEN / "embeddings.pt")
    manager.save(tmp_path / "c.pt")
    assert set(torch.load(tmp_path / "c.pt", weights_only=False)) == {"string_to_token", "string_to_param"}
