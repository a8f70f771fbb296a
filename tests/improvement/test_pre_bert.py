"""v2: learned words in multilingual prompts, the pointer that copies them, files and bad input."""

import csv

import pytest
import torch

import train_new_v2
import txt2img_v2
from check import check_initword, check_placeholder
from improvement.v2.aligner import Aligner, load_aligner, save_aligner, targets
from improvement.v2.pre_BERT import MultilingualEmbedder, Reading
from improvement.v2.sentences import PAIRS, read_pairs
from improvement.v2.train_aligner import AlignerTraining
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from pretrain.multilingual import mask_tokens, new_model, new_tokenizer
from tests.conftest import EMBEDDING, EMOJI, run_main
from tests.test_train_new import QUICK, flags, only_run


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
    assert not any(sign in without for sign in signs)


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
    points, logits = aligner(reading, table, wanted[:, :-1].clamp(min=0))
    assert points.shape == (3, 5, 4) and logits.shape == (3, 5, 25)
    finite = logits[..., 20:].isfinite()
    assert [row.any(dim=0).nonzero()[:, 0].tolist() for row in finite] == [[1, 3], [2, 4], []]
    aligner.choose = lambda reading, table, end: wanted.clamp(min=0)
    assert torch.equal(aligner.english(reading, table, placeholders, end=2, pad=0)[:2], ids[:2])


def test_a_slot_depends_on_what_was_said_before_it_alone():
    torch.manual_seed(0)
    aligner = Aligner(6, 4, 5, width=16, n_layer=2, heads=2).eval()
    table, reading = torch.randn(20, 4), reading_of([{}])
    one, other = torch.tensor([[1, 5, 7, 9]]), torch.tensor([[1, 5, 8, 3]])
    logits = [aligner(reading, table, said)[1] for said in (one, other, one[:, :2])]
    assert torch.allclose(logits[0][:, :3], logits[1][:, :3], atol=1e-5)
    assert torch.allclose(logits[0][:, :3], logits[2], atol=1e-5)
    assert not torch.allclose(logits[0][:, 3:], logits[1][:, 3:], atol=1e-3)
    greedy = aligner.choose(reading, table, end=int(logits[0][0, 0].argmax()))
    assert greedy.shape == (1, 1) and aligner.choose(reading, table, end=-1).shape == (1, 5)


def test_no_learned_word_is_lost_or_doubled():
    """Whatever an untrained aligner says, it points at each sign of the source once."""
    table, placeholders = torch.randn(20, 4), {"*": torch.tensor(7), "&": torch.tensor(9)}
    for seed in range(20):
        torch.manual_seed(seed)
        reading = reading_of([{1: "&", 3: "*"}, {2: "*", 4: "*"}, {}, {0: "*", 1: "*", 2: "*", 3: "*", 4: "&"}])
        aligner = Aligner(6, 4, 5, width=16, n_layer=1, heads=2).eval()
        choices = aligner.choose(reading, table, end=2)
        assert [sorted(c - 20 for c in row if c >= 20) for row in choices.tolist()] == [list(r) for r in reading.signs]
        ids = aligner.english(reading, table, placeholders, end=2, pad=0)
        assert ids.shape == (4, 5) and sorted(ids[3].tolist()) == [7, 7, 7, 7, 9]


@pytest.mark.slow
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
        module.loss(*zip(*sentences, strict=True)).backward()
        optimizer.step()
    reading = embedder([ko for ko, _ in sentences], ["*", "&"])
    found = aligner.english(reading, module.table, module.placeholders, module.end, module.pad)
    ids = encoder.tknz_fn([en for _, en in sentences])
    assert torch.equal(found[ids != module.pad], ids[ids != module.pad])
    assert all(p.grad is None for p in encoder.parameters())


def test_an_aligner_file_comes_back(tmp_path):
    aligner = Aligner(6, 4, 5, width=16, n_layer=1, heads=2)
    save_aligner(aligner, tmp_path / "aligner.pt")
    other = load_aligner(tmp_path / "aligner.pt")
    for name, weight in aligner.state_dict().items():  # a step of 6 bits is 1/31 of the largest
        assert (other.state_dict()[name] - weight).abs().max() <= 0.51 * weight.abs().max() / 31 + 1e-3
    with pytest.raises(UserError, match="not an aligner"):
        load_aligner(EMBEDDING)
    with pytest.raises(UserError, match="from width 6 to 4"):
        other.check_fit(8, torch.zeros(3, 4), "file")


def test_pairs_are_read_and_bad_files_refused(tmp_path):
    pairs = read_pairs(PAIRS)
    assert len(pairs) == 16_000 and len(dict(pairs)) == len(pairs), "no Korean sentence has two English ones"
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


@pytest.mark.parametrize("korean, english", [
    ("파란 배경 위의 빨간 사과", "a red apple on a blue background"), ("* 사진", "a photo of a *"),
    ("초록색 배경 위의 *", "a * on a green background"), ("*와 바나나", "a * and a banana"),
    ("노란 배경의 * 사진", "a photo of a * on a yellow background"), ("*의 사진", "a photo of a *"),
    ("파란 배경에 *가 있다", "a * on a blue background"), ("a photo of a *", "a photo of a *"),
    ("&와 *", "a & and a *"), ("*와 &", "a * and a &")])
def test_a_korean_sentence_reads_as_its_english_one(v2_model, korean, english):
    encoder = v2_model.cond_stage_model
    signs = {sign: torch.tensor(encoder.tknz_fn.ids(sign)[0]) for sign in "*&"}
    assert torch.equal(encoder.tokenize(korean, signs), encoder.tknz_fn(english))


def test_a_learned_word_means_in_korean_what_it_means_in_english(v2_model, emoji_model):
    """The features are equal bit for bit, with two learned words in one prompt too."""
    vectors = torch.randn(2, 1, 192, generator=torch.Generator().manual_seed(0))

    def features(model, prompts):
        manager = EmbeddingManager(model.cond_stage_model, ["*", "&"])
        for placeholder, vector in zip("*&", vectors, strict=True):
            manager.string_to_param_dict[placeholder].data.copy_(vector)
        return model.cond_stage_model.encode(prompts, manager)

    korean = features(v2_model, ["&와 *", "*의 사진"])
    assert torch.equal(korean, features(emoji_model, ["a & and a *", "a photo of a *"]))


def test_command_lines(tmp_path):
    result = run_main(train_new_v2.main, *flags(tmp_path / "v2", base="configs/emoji/finetune-v2.yaml", init_word="새"),
                      "-t", "lightning.trainer.max_steps=2", *QUICK)
    assert result.status == 0 and "1 vector from '새' = bird" in result.err, result.err
    word = only_run(tmp_path / "v2") / "checkpoints/embeddings.pt"
    out = ("--ckpt_path", EMOJI, "--ddim_steps", 2, "--n_samples", 1, "--outdir", tmp_path / "out")
    for learned_by, prompt in ((word, "a photo of a *"), (EMBEDDING, "파란 배경 위의 *"),
                               (EMBEDDING, "* on 파란 배경")):
        result = run_main(txt2img_v2.main, "--embedding_path", learned_by, "--prompt", prompt, *out)
        assert result.status == 0 and "warning" not in result.err, result.err
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
    result = run_main(txt2img_v2.main, "--embedding_path", EMBEDDING, "--prompt", "사과 사진", *out)
    assert result.status == 0 and "does not contain *" in result.err


def test_the_checks_look_through_the_aligner():
    result = run_main(check_placeholder.main, EMBEDDING, "--prompt", "초록색 배경 위의 *", "--variant", "v2")
    assert result.status == 0
    slots = [row.split() for row in result.out.split("what the aligner makes")[1].splitlines()]
    assert ["points", "at", "*"] in [row[2:] for row in slots] and any("green" in row[1:2] for row in slots)
    row = run_main(check_initword.main, "과일", "--variant", "v2").out.splitlines()[2].split()
    assert row[:2] == ["과일", "fruit"] and row[-1] == "yes"
