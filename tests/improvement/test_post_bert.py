"""v1: the same model at first, what it trains, what it keeps, its files and command lines."""

import pytest
import torch
from omegaconf import OmegaConf

import load
import train_new
import train_new_v1
import txt2img
import txt2img_v1
from check import check_placeholder
from improvement.v1.post_BERT import PostBERT
from ldm.serialization import read_tensors
from tests.conftest import EMOJI, GOLDEN, assert_one_line_error, run_main
from tests.runs import QUICK, flags, learned, only_run

PROMPTS = ["a photo of a *", "an apple", ""]


def v1_model(**params):
    config = OmegaConf.merge(load.model_config(GOLDEN / "model.ckpt", variant="v1"), {"model": {"params": params}})
    return load.load_model_from_config(config, GOLDEN / "model.ckpt")


def disturb(model, gate=None):
    """Move every learned weight but the base's vectors a little, as training would; the gate, where there is one, says
    what is asked for."""
    manager = model.embedding_manager
    with torch.no_grad():
        for p in (*manager.post_bert.parameters(), *manager.alone.parameters()):
            p += 0.1 * torch.randn_like(p)
        if manager.gate is not None and gate is not None:
            manager.gate.net[-1].bias.fill_(1e6 if gate else -1e6)


def one_reading(model):
    """The model as words of earlier versions have it: a file of theirs has neither gate nor second vectors."""
    model.embedding_manager.gate = None
    model.embedding_manager._take_alone({})
    return model


def test_at_first_it_is_the_base_model(small_model):
    model = v1_model()
    with torch.no_grad():
        for vectors in model.embedding_manager.vectors_of("*"):
            vectors.copy_(small_model.embedding_manager.string_to_param_dict["*"])
    base = small_model.get_learned_conditioning(PROMPTS)
    for gate in (True, False):
        with torch.no_grad():
            model.embedding_manager.gate.net[-1].bias.fill_(1e6 if gate else -1e6)
        assert torch.equal(model.get_learned_conditioning(PROMPTS), base)
    assert torch.equal(one_reading(model).get_learned_conditioning(PROMPTS), base)
    model.embedding_manager.everywhere = True
    assert torch.equal(model.get_learned_conditioning(PROMPTS), base)


def test_with_one_reading_only_the_words_own_features_turn():
    model = one_reading(v1_model(personalization_config={"params": {"num_vectors_per_token": 2}}))
    before = model.get_learned_conditioning(PROMPTS)
    disturb(model)
    changed = (model.get_learned_conditioning(PROMPTS) != before).any(dim=-1)
    assert changed[0].nonzero()[:, 0].tolist() == [5, 6], "[CLS] a photo of a * *"
    assert not changed[1:].any(), "prompts without the word are what they were, bit for bit"
    torch.testing.assert_close(model.get_learned_conditioning(PROMPTS).norm(dim=-1), before.norm(dim=-1))
    model.embedding_manager.everywhere = True
    assert (model.get_learned_conditioning(PROMPTS) != before).any(dim=-1).all()


def test_the_gate_says_which_reading_counts():
    model = v1_model()
    before = model.get_learned_conditioning(PROMPTS)
    disturb(model, gate=False)
    assert torch.equal(model.get_learned_conditioning(PROMPTS), before), "the base's reading, bit for bit"
    disturb(model, gate=True)
    alone = model.get_learned_conditioning(PROMPTS)
    assert (alone[0] != before[0]).any() and torch.equal(alone[1:], before[1:])
    with model.embedding_manager.read_as("alone"):
        torch.testing.assert_close(model.get_learned_conditioning(PROMPTS)[0], alone[0])
    with torch.no_grad():
        model.embedding_manager.take_at("*", model.embedding_manager.initial_embeddings.get(
            "*", torch.zeros_like(model.embedding_manager.alone["*"])), 0.5)
    assert (model.get_learned_conditioning(PROMPTS)[0] != alone[0]).any()


def test_the_gate_learns_to_tell_a_word_alone_from_one_in_company():
    model = load.load_model_from_config(load.model_config(EMOJI, variant="v1"), EMOJI)
    model.embedding_manager.start_from("fruit")
    optimizer = torch.optim.AdamW(model.embedding_manager.gate.parameters(), 4e-3)
    templates = load.load_config("configs/emoji/finetune-v1.yaml").data.params.train.params.templates
    captions = [template.format("*") for template in templates]
    torch.manual_seed(0)
    for _ in range(100):
        optimizer.zero_grad()
        model.gate_loss(captions).backward()
        optimizer.step()
    company = ["a * and a banana", "a penguin and a *", "a tiger with a *", "a cat, a dog and a *"]
    alone = ["a photo of a *", "an emoji of a *", "a * on a blue background"]  # the last is no caption
    before = model.get_learned_conditioning([*company, *alone])
    disturb(model)
    changed = (model.get_learned_conditioning([*company, *alone]) != before).flatten(1).any(dim=1)
    assert changed.tolist() == [False] * len(company) + [True] * len(alone)


@pytest.mark.parametrize("sizes", [{"bottleneck": 8, "n_layer": 0}, {"bottleneck": 0, "n_layer": 1},
                                   {"bottleneck": 16, "n_layer": 2}])
def test_every_form_starts_as_the_identity_and_can_leave_it(sizes):
    layers, z = PostBERT(32, **sizes), torch.randn(2, 5, 32)
    assert torch.equal(layers(z), z)
    layers(z).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layers.parameters())


def test_words_and_layers_are_trained_and_nothing_else():
    model = v1_model().train()
    disturb(model)
    model.learning_rate = 0.01
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = model.configure_optimizers()
    batch = {"image": torch.rand(2, 16, 16, 3) * 2 - 1, "caption": ["a photo of a *", "the *"], "key": ["a", "b"]}
    model.shared_step(batch)[0].backward()
    optimizer.step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    layers = {f"embedding_manager.{part}.{n}" for part in ("post_bert", "gate")
              for n, _ in getattr(model.embedding_manager, part).named_parameters()}
    assert changed == layers | {"embedding_manager.string_to_param_dict.*", "embedding_manager.alone.*"}
    assert {p.data_ptr() for g in optimizer.param_groups for p in g["params"]} == {
        p.data_ptr() for p in model.trainable_parameters()}
    assert all(p.grad is None for n, p in model.named_parameters() if n not in changed)


@pytest.mark.parametrize("more", [{}, {"embedding_reg_weight": 0.5}, {"use_checkpoint": True}])
def test_the_word_is_the_one_that_the_base_learns(small_model, more):
    """Bit for bit, whatever the layers do behind it."""
    batch = {"image": torch.rand(2, 16, 16, 3) * 2 - 1, "caption": ["a photo of a *", "the *"], "key": ["a", "b"],
             "position": torch.tensor([7])}
    config = load.model_config(GOLDEN / "model.ckpt")
    if more.pop("use_checkpoint", False):
        more = {"unet_config": {"params": {"use_checkpoint": True}}}
    base = load.load_model_from_config(OmegaConf.merge(config, {"model": {"params": more}}), GOLDEN / "model.ckpt")
    vectors, gradients = [], []
    for model in (base, v1_model(**more)):
        model.train()
        model.embedding_manager.start_from("apple")
        assert all(torch.equal(v, model.embedding_manager.initial_embeddings["*"])
                   for v in model.embedding_manager.vectors_of("*"))
        if model is not base:
            disturb(model)
        with torch.no_grad():
            model.embedding_manager.string_to_param_dict["*"] += 0.1
        vector = next(model.embedding_manager.embedding_parameters())
        model.learning_rate = 0.01
        optimizer = model.configure_optimizers()
        model.shared_step(dict(batch))[0].backward()
        gradients.append(vector.grad.clone())
        optimizer.step()
        vectors.append(vector.detach())
    assert gradients[0].abs().sum() > 0 and torch.equal(*gradients) and torch.equal(*vectors)
    assert all(p.grad is not None for p in model.embedding_manager.post_bert.parameters())


def test_the_prompts_of_the_gate_have_something_beside_every_learned_word():
    model = v1_model(personalization_config={"params": {"placeholder_strings": ["*", "<my cat>"]}})
    vocabulary = model.cond_stage_model.tknz_fn.tokenizer.get_vocab()
    captions = ["a photo of a *", "the <my cat> and a *"] * 20
    alone, company = model.gate_prompts(captions)
    assert alone[::2] == captions[::2] and all(
        new.startswith(f"{caption} on a ") for new, caption in zip(alone[1::2], captions[1::2], strict=True))
    assert len(set(company)) > 20 and len(company) == len(captions)
    for prompt, caption, words in zip(company, captions, (["*"], ["<my cat>", "*"]) * 20, strict=True):
        things = [w for w in prompt.replace("<my cat>", "").split() if w not in
                  {"a", "photo", "of", "the", "and", "with", "next", "to", "small", "big", "two", "*"}]
        assert all(word in prompt for word in words) and set(things) <= set(vocabulary) and prompt != caption
        assert len(things) <= len(words)


def test_preservation_asks_for_prompts_without_the_word():
    model = v1_model(personalization_config={"params": {"everywhere": True}})
    tokens = model.ordinary_prompts(["a photo of a *", "the *"])
    star = int(model.embedding_manager.string_to_token_dict["*"])
    given = model.cond_stage_model.tknz_fn(["a photo of a *", "the *", ""])
    assert star not in tokens and torch.equal(tokens[given != star], given[given != star])
    assert float(model.preservation_loss(["a *"]).detach()) == 0, "nothing has changed yet"
    disturb(model)
    loss = model.preservation_loss(["a *"])
    optimizer = torch.optim.Adam(model.embedding_manager.post_bert.parameters(), 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        model.preservation_loss(["a *"]).backward()
        optimizer.step()
    assert float(model.preservation_loss(["a *"]).detach()) < 0.5 * float(loss.detach())
    z = torch.zeros(1, model.channels, model.image_size, model.image_size)
    parts = model(z, ["a *"])[1]
    assert "val/loss_preservation" in parts and "val/loss_gate" not in parts
    parts = v1_model()(z, ["a *"])[1]
    assert "val/loss_gate" in parts and "val/loss_preservation" not in parts, "there is nothing to preserve"


def test_a_word_that_a_long_caption_pushes_out_is_no_error(recwarn):
    model = v1_model()
    recwarn.clear()
    loss = model.gate_loss(["a photo of a " * 40 + "*"])
    assert float(loss.detach()) == 0 and not recwarn


def make_everywhere():
    return v1_model(personalization_config={"params": {"bottleneck": 24, "n_layer": 2, "everywhere": True}})


@pytest.mark.parametrize("make", [v1_model, lambda: one_reading(v1_model()), make_everywhere, lambda: v1_model(
    personalization_config={"params": {"placeholder_strings": ["*", "<cat>"], "num_vectors_per_token": 2}})])
def test_one_file_carries_word_and_layers(tmp_path, small_model, make):
    prompts = [*PROMPTS, "a <cat>"]
    model = make()
    disturb(model, gate=True)
    model.embedding_manager.save(tmp_path / "embeddings.pt")
    for other in (v1_model(), make_everywhere()):
        other.embedding_manager.load(tmp_path / "embeddings.pt")
        assert torch.equal(other.get_learned_conditioning(prompts), model.get_learned_conditioning(prompts))
        assert (other.embedding_manager.gate is None) == (model.embedding_manager.gate is None)
    with pytest.raises(load.UserError, match="txt2img_v1.py"):
        small_model.embedding_manager.load(tmp_path / "embeddings.pt")
    with pytest.raises(load.UserError, match="without an adapter"):
        model.embedding_manager.load(GOLDEN / "embeddings.pt")
    with pytest.raises(load.UserError, match="only a .pt"):
        model.embedding_manager.save(tmp_path / "embeddings.safetensors")


@pytest.mark.parametrize("change", [
    lambda c: c.pop("post_BERT_alone"), lambda c: c["post_BERT_gate"].pop("net.0.bias"),
    lambda c: c.update(post_BERT_alone=torch.zeros(3, 32)), lambda c: c.update(post_BERT_gate=1),
    lambda c: c.update(post_BERT_everywhere=True), lambda c: c["post_BERT_alone"].fill_(float("nan"))])
def test_a_damaged_gate_is_one_line(tmp_path, change):
    model = v1_model()
    model.embedding_manager.save(tmp_path / "whole.pt")
    content = read_tensors(tmp_path / "whole.pt")
    change(content)
    torch.save(content, tmp_path / "damaged.pt")
    with pytest.raises(load.UserError, match="learned for another model, or is damaged"):
        model.embedding_manager.load(tmp_path / "damaged.pt")


@pytest.mark.slow
def test_command_lines(tmp_path):
    result = run_main(train_new_v1.main, *flags(tmp_path / "v1", base="configs/emoji/finetune-v1.yaml"), "-t",
                      "lightning.trainer.max_steps=2", *QUICK)
    assert result.status == 0, result.err
    folder = only_run(tmp_path / "v1")
    word = folder / "checkpoints/embeddings.pt"
    resumed = run_main(train_new_v1.main, "--resume", folder, "-t", "lightning.trainer.max_steps=3", *QUICK)
    assert resumed.status == 0 and "at step 3" in resumed.err, resumed.err
    assert learned(folder).shape == (1, 192)
    sample = ("--ckpt_path", EMOJI, "--ddim_steps", 2, "--n_samples", 1, "--outdir", tmp_path / "out")
    assert run_main(txt2img_v1.main, "--embedding_path", word, *sample).status == 0
    assert list((tmp_path / "out").glob("*.png"))
    looked = run_main(check_placeholder.main, word, "--prompt", "a photo of a *", "--variant", "v1")
    assert looked.status == 0 and "1 vector goes in" in looked.out, looked.err
    assert_one_line_error(run_main(check_placeholder.main, word), "txt2img_v1.py")
    assert_one_line_error(run_main(txt2img.main, "--embedding_path", word, *sample), "txt2img_v1.py")
    assert_one_line_error(run_main(txt2img_v1.main, "--embedding_path",
                                   "logs/example_green_apple/checkpoints/embeddings.pt", *sample), "txt2img.py")
    assert_one_line_error(run_main(train_new.main, *flags(tmp_path / "base", embedding_manager_ckpt=word)),
                          "train_new_v1.py")
