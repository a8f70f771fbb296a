"""v2: learned words in multilingual prompts, the pointer that copies them, files and bad input."""

import csv

import pytest
import torch

from improvement.v2.aligner import Aligner, load_aligner, save_aligner, targets
from improvement.v2.pre_BERT import MultilingualEmbedder, Reading
from improvement.v2.train_aligner import AlignerTraining, read_pairs
from ldm.errors import UserError
from pretrain.multilingual import mask_tokens, new_model, new_tokenizer
from tests.conftest import ROOT

PAIRS = ROOT / "improvement/v2/pairs.csv"


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """A multilingual transformer with random weights and the vocabulary of some pairs."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("multilingual")
    tokenizer = new_tokenizer([text for pair in read_pairs(PAIRS)[:2000] for text in pair], 1500)
    tokenizer.save_pretrained(folder)
    new_model(tokenizer).roberta.save_pretrained(folder)
    return MultilingualEmbedder(str(folder))


@pytest.mark.parametrize("prompt, signs", [
    ("*의 사진", ["*"]), ("파란 배경에 *가 있다", ["*"]), ("*를 그린 그림", ["*"]), ("a photo of *", ["*"]),
    ("*와 &", ["*", "&"]), ("&랑 *의 사진", ["&", "*"]), ("**", ["*", "*"]), ("사과 사진", []), ("", []),
    ("sks의 사진", ["sks"]), ("asksb", [])])
def test_a_sign_is_one_token_in_every_language(embedder, prompt, signs):
    ids, mask, found = embedder.tokenize([prompt], ["*", "&", "sks"])
    positions = (ids[0] == embedder.tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    assert positions == list(found[0]) and list(found[0].values()) == signs
    without = embedder.tokenizer.decode([t for t in ids[0].tolist() if t not in embedder.tokenizer.all_special_ids])
    assert not any(sign in without.split() for sign in signs)


def test_a_prompt_with_the_mask_token_is_refused(embedder):
    with pytest.raises(UserError, match="<mask>"):
        embedder(["a <mask>"], ["*"])


def test_the_embedder_is_frozen(embedder):
    reading = embedder.train()(["*의 사진", "파란 배경 위의 사과"], ["*"])
    assert reading.states.shape == (2, reading.mask.shape[1], embedder.dim) and not reading.states.requires_grad
    assert not any(m.training for m in embedder.modules())
    alone = embedder(["*의 사진"], ["*"])
    length = int(alone.mask.sum())
    assert torch.allclose(reading.states[0, :length], alone.states[0], atol=1e-5), "padding changes nothing"


def reading_of(signs, M=5, dim=6):
    return Reading(torch.randn(len(signs), M, dim), torch.ones(len(signs), M, dtype=torch.bool), signs)


def test_pointers_name_the_right_placeholder():
    torch.manual_seed(0)
    table, placeholders = torch.randn(20, 4), {"*": torch.tensor(7), "&": torch.tensor(9)}
    ids = torch.tensor([[1, 7, 3, 9, 2], [1, 7, 7, 2, 0], [1, 9, 5, 2, 0]])
    reading = reading_of([{1: "&", 3: "*"}, {2: "*", 4: "*"}, {}])
    wanted = targets(ids, reading, placeholders, 20)
    assert wanted.tolist() == [[1, 23, 3, 21, 2], [1, 22, 24, 2, 0], [1, -100, 5, 2, 0]]
    aligner = Aligner(6, 4, 5, width=16, n_layer=1, heads=2)
    points, logits = aligner(reading, table)
    assert points.shape == (3, 5, 4) and logits.shape == (3, 5, 25)
    finite = logits[..., 20:].isfinite()
    assert [row.any(dim=0).nonzero()[:, 0].tolist() for row in finite] == [[1, 3], [2, 4], []]
    aligner.forward = lambda reading, table: (points, torch.nn.functional.one_hot(wanted.clamp(min=0), 25).float())
    assert torch.equal(aligner.english(reading, table, placeholders)[:2], ids[:2])


def test_training_learns_to_translate_and_to_copy(embedder, emoji_model):
    """A few sentences by heart: word order differs, two learned words swap places."""
    torch.manual_seed(0)
    sentences = [("파란 배경 위의 *", "a * on a blue background"), ("*와 &", "a * and a &"), ("&와 *", "a & and a *"),
                 ("사과 사진", "a photo of an apple"), ("*와 사과", "a * and an apple")]
    encoder = emoji_model.cond_stage_model
    aligner = Aligner(embedder.dim, 192, encoder.transformer.max_seq_len, width=64, n_layer=2, heads=4)
    module = AlignerTraining(embedder, encoder, aligner, ["*", "&"], 3e-3, 1.0)
    module.log = lambda *args, **kwargs: None
    optimizer = torch.optim.AdamW(aligner.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        module.training_step(tuple(zip(*sentences, strict=True)), 0).backward()
        optimizer.step()
    reading = embedder([ko for ko, _ in sentences], ["*", "&"])
    found = aligner.english(reading, module.table, module.placeholders)
    ids = encoder.tknz_fn([en for _, en in sentences])
    assert torch.equal(found[ids != module.pad], ids[ids != module.pad])
    assert all(p.grad is None for p in encoder.parameters())


def test_an_aligner_file_comes_back(tmp_path):
    aligner = Aligner(6, 4, 5, width=16, n_layer=1, heads=2).half().float()
    save_aligner(aligner, tmp_path / "aligner.pt")
    other = load_aligner(tmp_path / "aligner.pt")
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in aligner.state_dict().items())
    with pytest.raises(UserError, match="not an aligner"):
        load_aligner(ROOT / "logs/example_green_apple/checkpoints/embeddings.pt")
    with pytest.raises(UserError, match="from width 6 to 4"):
        other.check_fit(8, torch.zeros(3, 4), "file")


def test_pairs_are_read_and_bad_files_refused(tmp_path):
    pairs = read_pairs(PAIRS)
    assert len(pairs) == 12_000 and len(dict(pairs)) == len(pairs), "no Korean sentence has two English ones"
    assert all(sum(map(ko.count, "*&")) == sum(map(en.count, "*&")) for ko, en in pairs)
    with open(tmp_path / "other.csv", "w", newline="") as file:
        csv.writer(file).writerows([("korean", "english"), ("사과", "apple")])
    with pytest.raises(UserError, match="columns ko and en"):
        read_pairs(tmp_path / "other.csv")
    with pytest.raises(UserError, match="not a readable CSV"):
        read_pairs(tmp_path / "nothing.csv")


def test_masking_leaves_special_tokens(embedder):
    tokenizer = embedder.tokenizer
    ids = tokenizer(["파란 배경 위의 사과"] * 200, return_tensors="pt")["input_ids"]
    masked, labels = mask_tokens(ids, tokenizer, 0.5)
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    assert torch.equal(masked[special], ids[special]) and (labels[special] == -100).all()
    assert 0.4 < float((masked == tokenizer.mask_token_id)[~special].float().mean()) < 0.6
    assert torch.equal(torch.where(labels == -100, masked, labels), ids)
