"""Files of words as the programs that exchange them write and read them."""

import itertools
import math

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from ldm.embedding_files import FORMATS, WIDTHS, Words, format_for, read_words, write_words
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.provenance import Provenance
from ldm.serialization import read_metadata
from tests.conftest import GOLDEN

VECTORS = torch.arange(32.0).reshape(2, 16)
KNOWN = Provenance("0123456789abcdef", "model.ckpt", "dog", VECTORS / 3, 300, 0.005, ("a" * 64, "b" * 64), "1.2.3")

# Each program's files, as its source writes them: (name, content, the word in it, format).
A1111_FILE = {"string_to_token": {"*": 265}, "string_to_param": {"*": nn.Parameter(VECTORS)}, "name": "cat-toy",
              "step": 500, "sd_checkpoint": "81761151", "sd_checkpoint_name": "v1-5-pruned-emaonly"}
FILES = {
    "published": ("embeddings.pt", {"string_to_token": {"*": torch.tensor(1008)},
                          "string_to_param": nn.ParameterDict({"*": nn.Parameter(VECTORS)})}, "*", "published"),
    "a published one with a plain dictionary": (
        "embeddings.pt", {"string_to_token": {"*": 1008}, "string_to_param": {"*": VECTORS}}, "*", "published"),
    "diffusers, one vector": ("learned_embeds.bin", {"<cat-toy>": VECTORS[1]}, "<cat-toy>", "diffusers"),
    "diffusers, several": ("learned_embeds.bin", {"<cat-toy>": VECTORS}, "<cat-toy>", "diffusers"),
    "a diffusers run's step": (
        "learned_embeds-steps-500.safetensors", {"<cat-toy>": VECTORS}, "<cat-toy>", "diffusers"),
    "AUTOMATIC1111": ("cat-toy.pt", A1111_FILE, "cat-toy", "a1111"),
    "AUTOMATIC1111's safetensors": ("cat-toy.safetensors", {"emb_params": VECTORS}, "*", "kohya"),
    "kohya": ("cat-toy.safetensors", {"emb_params": VECTORS.half()}, "*", "kohya"),
    "kohya's last step": ("cat-toy.pt", {"emb_params": VECTORS[0]}, "*", "kohya"),
}
METADATA = {"modelspec.architecture": "stable-diffusion-v1/textual-inversion", "format": "pt"}


@pytest.mark.parametrize("program", FILES)
@pytest.mark.parametrize("suffix", [None, ".ckpt", ""])
def test_what_programs_write_is_read_by_its_content(tmp_path, program, suffix):
    name, content, word, format = FILES[program]
    path = tmp_path / (f"word{suffix}" if suffix is not None else name)
    if name.endswith(".safetensors"):
        safetensors.torch.save_file(content, path, METADATA)
    else:
        torch.save(content, path)
    words = read_words(path)
    assert list(words.vectors) == [word] and words.format == format and words.named is (format != "kohya")
    vectors = words.vectors[word]
    assert vectors.dtype == torch.float32 and torch.equal(vectors, VECTORS) or torch.equal(vectors, vectors[:1])
    assert words.token_ids == ({"*": 1008} if format == "published" else {})


def test_what_automatic1111_knows_of_a_word_is_its_provenance(tmp_path):
    torch.save(A1111_FILE, tmp_path / "cat-toy.pt")
    assert read_words(tmp_path / "cat-toy.pt").provenance == {
        "cat-toy": Provenance(model="v1-5-pruned-emaonly", step=500)}
    torch.save(A1111_FILE | {"step": None, "sd_checkpoint_name": 3}, tmp_path / "cat-toy.pt")
    assert read_words(tmp_path / "cat-toy.pt").provenance == {}


@pytest.mark.parametrize("name", [None, "", "  ", 5])
def test_a_file_of_automatic1111_without_a_name_is_a_published_one(tmp_path, name):
    torch.save(A1111_FILE | {"name": name}, tmp_path / "word.pt")
    assert list(read_words(tmp_path / "word.pt").vectors) == ["*"]


SDXL = {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}
OTHERS = {
    "Stable Diffusion XL": SDXL, "Stable Diffusion 3": SDXL | {"t5": torch.ones(2, 4096)},
    "XL": {"text_encoders_0": torch.ones(2, 768), "text_encoders_1": torch.ones(2, 1280)},
    "FLUX": {"clip_l": torch.ones(2, 768), "t5": torch.ones(2, 4096)},
    "LoRA": {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(4, 16)},
    "a LoRA": {"lora_unet.weight": torch.ones(2, 16)}, "LoRA, ": {"lora_unet_down.hada_w1_a": torch.ones(4, 16)},
    "hypernetwork": {768: ({"linear.0.weight": torch.ones(2, 2)},) * 2, "step": 3, "name": "x"},
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_else_lies_among_words_is_named(tmp_path, what, suffix):
    if suffix == ".safetensors" and what != "hypernetwork":
        safetensors.torch.save_file(OTHERS[what], tmp_path / "file")
    else:
        torch.save(OTHERS[what], tmp_path / "file")
    with pytest.raises(UserError, match=f"file: .*{what}") as caught:
        read_words(tmp_path / "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_width_that_does_not_fit_says_which_model_the_word_is_for(shared_small_model, tmp_path, width):
    write_words(tmp_path / "word.pt", Words({"*": torch.ones(1, width)}))
    with pytest.raises(UserError) as caught:
        EmbeddingManager(shared_small_model.cond_stage_model, ["*"], ["dog"]).load(tmp_path / "word.pt")
    assert f"{width} wide, the text encoder 16; it is for {WIDTHS[width][0]}" in str(caught.value)


# Writing -------------------------------------------------------------------------------------------------------------

SUFFIXES = [".pt", ".bin", ".safetensors"]


@pytest.mark.parametrize("format, suffix", [(f, s) for f, s in itertools.product([None, *FORMATS], SUFFIXES)
                                            if (f, s) != ("published", ".safetensors")])
@pytest.mark.parametrize("name", ["*", "<cat-toy>", "my doll", "인형", "a.b", "values", "keys"])
def test_words_come_back_from_every_format(tmp_path, format, suffix, name):
    write_words(tmp_path / f"file{suffix}", Words({name: VECTORS}, token_ids={name: 7}, provenance={name: KNOWN}),
                format)
    words = read_words(tmp_path / f"file{suffix}")
    written = format_for(tmp_path / f"file{suffix}", format)
    assert words.format == ("kohya" if (written, suffix) == ("a1111", ".safetensors") else written)
    assert torch.equal(*words.vectors.values(), VECTORS)
    has_room = words.format in ("published", "a1111") or suffix == ".safetensors"
    assert words.named is (has_room or words.format == "diffusers")
    assert list(words.vectors) == [
        "*" if not words.named else "file" if words.format == "a1111" and name == "*" else name]
    if has_room:
        (known,) = words.provenance.values()
        assert torch.equal(known.start, KNOWN.start) and known == KNOWN


def test_what_is_written_is_the_same_every_time(tmp_path):
    words = Words({"*": VECTORS, "b": VECTORS + 1}, provenance={"*": KNOWN, "b": KNOWN})
    for suffix in (".pt", ".safetensors"):
        for n in range(2):
            write_words(tmp_path / f"{n}{suffix}", words)
        assert (tmp_path / f"0{suffix}").read_bytes() == (tmp_path / f"1{suffix}").read_bytes()


def test_published_readers_load_a_file_with_provenance(tmp_path):
    """They take two entries, give the one to a module and go through the other."""
    write_words(tmp_path / "word.pt", Words({"*": VECTORS, "<cat>": VECTORS[:1]}, token_ids={"*": 1008},
                                            provenance={"*": KNOWN}))
    content = torch.load(tmp_path / "word.pt", map_location="cpu", weights_only=False)
    manager = nn.Module()
    manager.string_to_param_dict = nn.ParameterDict({"old": torch.ones(1)})
    manager.string_to_param_dict = content["string_to_param"]
    for name, token in content["string_to_token"].items():
        assert manager.string_to_param_dict[name].shape[1] == 16 and torch.is_tensor(token.to("cpu"))
    assert int(content["string_to_token"]["*"]) == 1008
    assert torch.equal(manager.string_to_param_dict["*"], VECTORS)
    assert torch.load(GOLDEN / "embeddings.pt", weights_only=False).keys() == content.keys() - {"provenance"}


def test_a_token_that_nothing_tells_is_past_the_vocabulary(tmp_path):
    write_words(tmp_path / "a.pt", Words({name: torch.ones(1, 1280) for name in ("<a>", "*", "<b>")}))
    ids = read_words(tmp_path / "a.pt").token_ids
    assert ids["*"] == 1008 and sorted([ids["<a>"], ids["<b>"]]) == [30522, 30523]


def test_as_automatic1111_has_it(tmp_path):
    write_words(tmp_path / "cat-toy.pt", Words({"*": VECTORS}, provenance={"*": KNOWN}), "a1111")
    content = torch.load(tmp_path / "cat-toy.pt", weights_only=True)
    assert {k: type(v) for k, v in content.items() if k != "provenance"} == {
        "string_to_token": dict, "string_to_param": dict, "name": str, "step": int, "sd_checkpoint": type(None),
        "sd_checkpoint_name": str}
    assert content["name"] == "cat-toy" and list(content["string_to_param"]) == ["*"]


def test_as_kohya_has_it(tmp_path):
    write_words(tmp_path / "cat.safetensors", Words({"<cat>": VECTORS}), "kohya")
    assert {k: tuple(v.shape) for k, v in safetensors.torch.load_file(tmp_path / "cat.safetensors").items()} == {
        "emb_params": (2, 16)}


def test_what_a_format_has_no_room_for_is_refused_and_nothing_is_written(tmp_path):
    two = Words({"*": VECTORS, "<cat>": VECTORS})
    for format in ("a1111", "kohya"):
        with pytest.raises(UserError, match=r"file.pt: .*holds one word.*\* <cat>"):
            write_words(tmp_path / "file.pt", two, format)
    with pytest.raises(UserError, match="file.safetensors: .*suffix .pt"):
        write_words(tmp_path / "file.safetensors", two, "published")
    for format in ("diffusers", "a1111", "kohya"):
        with pytest.raises(UserError, match="only a .pt file holds both"):
            write_words(tmp_path / "file.bin", Words({"*": VECTORS}, adapter={"post_BERT": {}}), format)
    assert not list(tmp_path.iterdir())


def test_words_get_other_names(tmp_path):
    words = Words({"*": VECTORS, "b": VECTORS}, "kohya", False, {"*": 5, "b": 6}, {"*": KNOWN})
    renamed = words.renamed({"*": "<cat>"})
    assert list(renamed.vectors) == ["<cat>", "b"] and renamed.named and renamed.token_ids == {"b": 6}
    assert renamed.provenance == {"<cat>": KNOWN}
    with pytest.raises(UserError, match="one name"):
        words.renamed({"*": "b"})


def test_tokens_are_those_of_the_model(shared_small_model):
    encoder = shared_small_model.cond_stage_model
    words = Words({"&": VECTORS, "teapots": VECTORS, "*": VECTORS}, token_ids={"*": 5}).with_tokens_of(encoder)
    assert words.token_ids == {"*": 5, "&": encoder.tknz_fn.ids("&")[0]}
    assert Words({"&": torch.ones(1, 17)}).with_tokens_of(encoder).token_ids == {}


# diffusers itself ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pipeline():
    """A pipeline of diffusers that has nothing but what its textual inversion needs: CLIP with single letters."""
    diffusers = pytest.importorskip("diffusers")
    from diffusers.loaders import TextualInversionLoaderMixin
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    class Pipeline(diffusers.DiffusionPipeline, TextualInversionLoaderMixin):
        def __init__(self, text_encoder, tokenizer):
            super().__init__()
            self.register_modules(text_encoder=text_encoder, tokenizer=tokenizer)

    letters = [chr(i) for i in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])
    config = CLIPTextConfig(vocab_size=len(pieces), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                            num_attention_heads=2, bos_token_id=len(pieces) - 2, eos_token_id=len(pieces) - 1)
    return Pipeline(CLIPTextModel(config), tokenizer)


def diffusers_vectors(pipeline, tokens):
    """The vectors that a pipeline puts at tokens: what diffusers' training script saves."""
    ids = pipeline.tokenizer.convert_tokens_to_ids(tokens)
    return pipeline.text_encoder.get_input_embeddings().weight[min(ids):max(ids) + 1].detach().clone()


@pytest.mark.slow
@pytest.mark.parametrize("format, file", [
    ("diffusers", "learned_embeds.safetensors"), ("diffusers", "learned_embeds.bin"), ("a1111", "word.pt"),
    ("kohya", "word.safetensors"), (None, "x.safetensors")])
def test_diffusers_loads_our_files_and_we_load_its(pipeline, tmp_path, format, file):
    name = f"<{format}-{file}>".lower().replace(".", "-")
    write_words(tmp_path / file, Words({name: VECTORS}, provenance={name: KNOWN}), format)
    pipeline.load_textual_inversion(str(tmp_path / file), token=name)
    tokens = pipeline.tokenizer.convert_ids_to_tokens(pipeline.tokenizer(
        pipeline.maybe_convert_prompt(f"a {name}", pipeline.tokenizer)).input_ids)
    assert tokens[2:-1] == [name, f"{name}_1"], "it is called by its name, and both vectors go in"
    assert torch.equal(diffusers_vectors(pipeline, tokens[2:-1]), VECTORS)
    if format != "kohya":  # where the file has the name, nobody has to say it
        pipeline.unload_textual_inversion(name)
        pipeline.unload_textual_inversion(f"{name}_1")
        pipeline.load_textual_inversion(str(tmp_path / file))
    learned = {name: diffusers_vectors(pipeline, tokens[2:-1]) + math.pi}
    safetensors.torch.save_file(learned, tmp_path / "learned_embeds-steps-500.safetensors", metadata={"format": "pt"})
    torch.save(learned, tmp_path / "learned_embeds-steps-500.bin")
    for suffix in ("safetensors", "bin"):
        words = read_words(tmp_path / f"learned_embeds-steps-500.{suffix}")
        assert words.format == "diffusers" and torch.equal(words.vectors[name], learned[name])


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    for letters in range(1, 300):
        safetensors.torch.save_file({"*": VECTORS[:1]}, tmp_path / "word", {"note": "x" * letters})
        assert list(read_words(tmp_path / "word").vectors) == ["*"], letters


def test_metadata_of_other_files_is_none_and_of_damaged_ones_an_error(tmp_path):
    torch.save({"*": VECTORS}, tmp_path / "word.pt")
    assert read_metadata(tmp_path / "word.pt") == {}
    safetensors.torch.save_file({"*": VECTORS}, tmp_path / "word", {"note": "text"})
    assert read_metadata(tmp_path / "word") == {"note": "text"}
    for data in ((tmp_path / "word").read_bytes()[:-1], (2**31).to_bytes(8, "little") + b"{}"):
        (tmp_path / "damaged").write_bytes(data)
        with pytest.raises(UserError, match="damaged: not a checkpoint, or cut short"):
            read_metadata(tmp_path / "damaged")
