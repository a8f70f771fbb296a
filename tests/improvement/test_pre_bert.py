"""v2: placeholders in multilingual prompts, the decoder that copies them, its training, files and bad input."""

import csv

import pytest
import torch

import train_new_v2
import txt2img_v2
from check import check_initword, check_placeholder
from improvement.v2 import train_aligner
from improvement.v2.aligner import RENAMED, Aligner, SourceEncoding, copy_labels, load_aligner, save_aligner
from improvement.v2.aligner_training import AlignerTraining
from improvement.v2.pre_BERT import MultilingualEmbedder
from improvement.v2.sentences import PAIRS, read_pairs
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.serialization import read_tensors, write_tensors
from pretrain.multilingual import mask_tokens, new_model, new_tokenizer
from tests.conftest import EMBEDDING, EMOJI, ROOT, assert_one_line_error, run_main, run_script
from tests.runs import QUICK, flags, only_run


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """A multilingual transformer with random weights and the vocabulary of some pairs."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("multilingual")
    tokenizer = new_tokenizer([text for pair in read_pairs(PAIRS)[:2000] for text in pair])
    tokenizer.save_pretrained(folder)
    new_model(tokenizer).roberta.save_pretrained(folder)
    return MultilingualEmbedder(str(folder))


@pytest.mark.parametrize("prompt, placeholders", [
    ("*의 사진", ["*"]), ("파란 배경에 *가 있다", ["*"]), ("*를 그린 그림", ["*"]), ("a photo of *", ["*"]),
    ("*와 &", ["*", "&"]), ("&랑 *의 사진", ["&", "*"]), ("**", ["*", "*"]), ("사과 사진", []), ("", []),
    ("sks의 사진", ["sks"]), ("asksb", [])])
def test_a_placeholder_is_one_token_in_every_language(embedder, prompt, placeholders):
    ids, mask, found = embedder.tokenize([prompt], ["*", "&", "sks"])
    positions = (ids[0] == embedder.tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    assert positions == list(found[0]) and list(found[0].values()) == placeholders
    without = embedder.tokenizer.decode([t for t in ids[0].tolist() if t not in embedder.tokenizer.all_special_ids])
    assert not any(placeholder in without for placeholder in placeholders)


def test_a_prompt_with_the_mask_token_is_refused(embedder):
    with pytest.raises(UserError, match="<mask>"):
        embedder(["a <mask>"], ["*"])


def test_the_embedder_is_frozen(embedder):
    source = embedder.train()(["*의 사진", "파란 배경 위의 사과"], ["*"])
    assert source.memory.shape == (2, source.mask.shape[1], embedder.memory_dim) and not source.memory.requires_grad
    assert not any(m.training for m in embedder.modules())
    alone = embedder(["*의 사진"], ["*"])
    length = int(alone.mask.sum())
    assert torch.allclose(source.memory[0, :length], alone.memory[0], atol=1e-5), "padding changes nothing"


def source_with(placeholders, M=5, dim=6):
    """Random memory for sentences of M tokens with these placeholders."""
    B = len(placeholders)
    return SourceEncoding(torch.randn(B, M, dim), torch.ones(B, M, dtype=torch.bool), placeholders)


def small_aligner(n_layer=1):
    return Aligner(6, 4, 5, d_model=16, n_layer=n_layer, heads=2).eval()


PLACEHOLDER_IDS = {"*": torch.tensor(7), "&": torch.tensor(9)}


def test_labels_are_copies_of_the_right_placeholder():
    torch.manual_seed(0)
    token_embeddings = torch.randn(20, 4)
    target_ids = torch.tensor([[1, 7, 3, 9, 2], [1, 7, 7, 2, 0], [1, 9, 5, 2, 0]])
    source = source_with([{1: "&", 3: "*"}, {2: "*", 4: "*"}, {}])
    labels, prefix = copy_labels(target_ids, source, PLACEHOLDER_IDS, 20, pad_id=-1)
    assert torch.equal(prefix, torch.where(labels == -100, target_ids, labels))
    assert labels.tolist() == [[1, 23, 3, 21, 2], [1, 22, 24, 2, 0], [1, -100, 5, 2, 0]]
    aligner = small_aligner()
    outputs, logits = aligner(source, token_embeddings, labels[:, :-1].clamp(min=0))
    assert outputs.shape == (3, 5, 4) and logits.shape == (3, 5, 25)
    finite = logits[..., 20:].isfinite()
    assert [row.any(dim=0).nonzero()[:, 0].tolist() for row in finite] == [[1, 3], [2, 4], []]
    aligner.decode = lambda source, token_embeddings, eos_id, beams: labels.clamp(min=0)
    translation = aligner.translate(source, token_embeddings, PLACEHOLDER_IDS, eos_id=2, pad_id=0)
    assert torch.equal(translation[:2], target_ids[:2])


def test_the_decoder_is_causal():
    torch.manual_seed(0)
    aligner = small_aligner(n_layer=2)
    token_embeddings, source = torch.randn(20, 4), source_with([{}])
    one, other = torch.tensor([[1, 5, 7, 9]]), torch.tensor([[1, 5, 8, 3]])
    logits = [aligner(source, token_embeddings, prefix)[1] for prefix in (one, other, one[:, :2])]
    assert torch.allclose(logits[0][:, :3], logits[1][:, :3], atol=1e-5)
    assert torch.allclose(logits[0][:, :3], logits[2], atol=1e-5)
    assert not torch.allclose(logits[0][:, 3:], logits[1][:, 3:], atol=1e-3)
    first = int(logits[0][0, 0].argmax())
    assert aligner.decode(source, token_embeddings, eos_id=first).tolist() == [[first]]
    assert aligner.decode(source, token_embeddings, eos_id=-1).shape == (1, 5)


def test_every_placeholder_is_copied_once():
    """By an untrained aligner too."""
    token_embeddings = torch.randn(20, 4)
    for seed in range(20):
        torch.manual_seed(seed)
        source = source_with([{1: "&", 3: "*"}, {2: "*", 4: "*"}, {}, {0: "*", 1: "*", 2: "*", 3: "*", 4: "&"}])
        aligner = small_aligner()
        tokens = aligner.decode(source, token_embeddings, eos_id=2)
        copied = [sorted(token - 20 for token in row if token >= 20) for row in tokens.tolist()]
        assert copied == [list(positions) for positions in source.placeholders]
        ids = aligner.translate(source, token_embeddings, PLACEHOLDER_IDS, eos_id=2, pad_id=0)
        assert ids.shape == (4, 5) and sorted(ids[3].tolist()) == [7, 7, 7, 7, 9]


@pytest.mark.slow
def test_training_learns_to_translate_and_to_copy(embedder, emoji_model):
    """A few sentences by heart: word order differs, two learned words swap places."""
    torch.manual_seed(0)
    sentences = [("파란 배경 위의 *", "a * on a blue background"), ("*와 &", "a * and a &"), ("&와 *", "a & and a *"),
                 ("사과 사진", "a photo of an apple"), ("*와 사과", "a * and an apple")]
    encoder = emoji_model.cond_stage_model
    aligner = Aligner(embedder.memory_dim, 192, encoder.transformer.max_seq_len, d_model=64, n_layer=2, heads=4)
    module = AlignerTraining(embedder, encoder, aligner, ["*", "&"], 3e-3, 1.0)
    module.log = lambda *args, **kwargs: None
    optimizer = torch.optim.AdamW(aligner.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        module.loss(*zip(*sentences, strict=True)).backward()
        optimizer.step()
    source, target_ids = module.encode(*zip(*sentences, strict=True))
    translation = aligner.translate(source, module.token_embeddings, module.placeholder_ids, module.eos_id,
                                    module.pad_id)
    assert torch.equal(translation[target_ids != module.pad_id], target_ids[target_ids != module.pad_id])
    assert all(p.grad is None for p in encoder.parameters())


@pytest.mark.slow
def test_the_training_command(tmp_path):
    """A few steps from flags to a file; the run's checkpoint is resumed, and one of another aligner refused."""
    flags = ("--run", tmp_path / "run", "--out", tmp_path / "aligner.pt", "--steps", 2, "--batch_size", 4)
    last, files = tmp_path / "run/checkpoints/last.ckpt", []
    for _ in range(2):  # the second time there is nothing left to do
        result = run_main(train_aligner.main, *flags, "--validation", 20)
        assert result.status == 0 and "of 20 held-out sentences" in result.err, result.err
        assert torch.load(last, weights_only=True)["global_step"] == 2
        files.append(load_aligner(tmp_path / "aligner.pt").state_dict())
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    torch.save(torch.load(last, weights_only=True) | {"state_dict": {"aligner.slots": torch.zeros(1)}}, last)
    assert_one_line_error(run_main(train_aligner.main, *flags), "another or an earlier aligner")


def test_the_training_command_answers_before_it_imports_torch():
    program = ("import sys\nfrom improvement.v2.train_aligner import main\ntry:\n    main(['--help'])\nfinally:\n"
               "    assert not {'torch', 'transformers', 'pytorch_lightning'} & set(sys.modules)")
    result = run_script("-c", program)
    assert result.returncode == 0 and "--english_share" in result.stdout, result.stderr


def with_old_names(content):
    """An aligner's file as earlier versions wrote it."""
    old = {entry: {new: name for name, new in names.items()} for entry, names in RENAMED.items()}
    return {entry: {".".join([old[entry].get(first, first), *rest]): value
                    for name, value in values.items() for first, *rest in [name.split(".")]}
            for entry, values in content.items()}


def test_a_file_with_old_names_is_the_same_aligner(tmp_path):
    torch.manual_seed(0)
    save_aligner(small_aligner(), tmp_path / "new.pt")
    content = read_tensors(tmp_path / "new.pt")
    old = with_old_names(content)
    assert {"dim", "slots", "width"} < set(old["aligner"]) and not set(RENAMED["aligner"]) & set(content["aligner"])
    assert {"inward.weight.step", "slots.step", "sharpness", "key.bias"} < set(old["state_dict"])
    write_tensors(tmp_path / "old.pt", old)
    token_embeddings, source = torch.randn(20, 4), source_with([{1: "&", 3: "*"}, {}])
    prefix = torch.tensor([[1, 23, 3, 21], [1, 4, 5, 2]])
    outputs = [load_aligner(tmp_path / name).eval()(source, token_embeddings, prefix) for name in ("new.pt", "old.pt")]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


def test_the_embedded_aligner_comes_back_from_a_new_file(tmp_path):
    embedded = load_aligner(ROOT / "models/multilingual/emoji/aligner.pt")
    save_aligner(embedded, tmp_path / "aligner.pt")
    assert load_aligner(tmp_path / "aligner.pt").sizes == embedded.sizes
    for name, weight in load_aligner(tmp_path / "aligner.pt").state_dict().items():
        assert torch.allclose(weight, embedded.state_dict()[name], rtol=1e-3, atol=1e-6), name


def test_an_aligner_file_comes_back(tmp_path):
    aligner = small_aligner()
    save_aligner(aligner, tmp_path / "aligner.pt")
    other = load_aligner(tmp_path / "aligner.pt")
    assert other.sizes == aligner.sizes
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


@pytest.mark.parametrize("source, target", [
    ("파란 배경 위의 빨간 사과", "a red apple on a blue background"), ("* 사진", "a photo of a *"),
    ("초록색 배경 위의 *", "a * on a green background"), ("*와 바나나", "a * and a banana"),
    ("노란 배경의 * 사진", "a photo of a * on a yellow background"), ("*의 사진", "a photo of a *"),
    ("파란 배경에 *가 있다", "a * on a blue background"), ("a photo of a *", "a photo of a *"),
    ("&와 *", "a & and a *"), ("*와 &", "a * and a &")])
def test_a_sentence_translates_into_its_english_one(v2_model, source, target):
    encoder = v2_model.cond_stage_model
    placeholders = {p: torch.tensor(encoder.tknz_fn.ids(p)[0]) for p in "*&"}
    assert torch.equal(encoder.tokenize(source, placeholders), encoder.tknz_fn(target))


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


@pytest.mark.slow
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
    rows = [row.split() for row in result.out.split("as v2 translates it")[1].splitlines()]
    assert ["*", "copied", "from"] in [row[1:4] for row in rows] and any("green" in row[1:2] for row in rows)
    row = run_main(check_initword.main, "과일", "--variant", "v2").out.splitlines()[2].split()
    assert row[:2] == ["과일", "fruit"] and row[-1] == "yes"
