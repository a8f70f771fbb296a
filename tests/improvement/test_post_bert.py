"""v1: the same model at first, what it trains, what it keeps, its files and command lines."""

import copy

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
from tests.conftest import EMOJI, GOLDEN, assert_one_line_error, run_main
from tests.runs import QUICK, flags, learned, only_run

PROMPTS = ["a photo of a *", "an apple", ""]


def v1_model(**params):
    config = OmegaConf.merge(load.model_config(GOLDEN / "model.ckpt", variant="v1"), {"model": {"params": params}})
    return load.load_model_from_config(config, GOLDEN / "model.ckpt")


def disturb(model):
    """Move every learned weight a little, as training would."""
    with torch.no_grad():
        for p in model.embedding_manager.post_bert.parameters():
            p += 0.1 * torch.randn_like(p)


def test_at_first_it_is_the_base_model(small_model):
    model = v1_model()
    model.embedding_manager.string_to_param_dict = copy.deepcopy(small_model.embedding_manager.string_to_param_dict)
    model.embedding_manager.string_to_token_dict = small_model.embedding_manager.string_to_token_dict
    base = small_model.get_learned_conditioning(PROMPTS)
    assert torch.equal(model.get_learned_conditioning(PROMPTS), base)
    model.embedding_manager.everywhere = True
    assert torch.equal(model.get_learned_conditioning(PROMPTS), base)


def test_only_the_words_own_features_turn():
    model = v1_model(personalization_config={"params": {"num_vectors_per_token": 2}})
    before = model.get_learned_conditioning(PROMPTS)
    disturb(model)
    changed = (model.get_learned_conditioning(PROMPTS) != before).any(dim=-1)
    assert changed[0].nonzero()[:, 0].tolist() == [5, 6], "[CLS] a photo of a * *"
    assert not changed[1:].any(), "prompts without the word are what they were, bit for bit"
    torch.testing.assert_close(model.get_learned_conditioning(PROMPTS).norm(dim=-1), before.norm(dim=-1))
    model.embedding_manager.everywhere = True
    assert (model.get_learned_conditioning(PROMPTS) != before).any(dim=-1).all()


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
    layers = {f"embedding_manager.post_bert.{n}" for n, _ in model.embedding_manager.post_bert.named_parameters()}
    assert changed == layers | {"embedding_manager.string_to_param_dict.*"}
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
        if model is not base:
            disturb(model)
        with torch.no_grad():
            model.embedding_manager.string_to_param_dict["*"] += 0.1
        (vector,) = model.embedding_manager.embedding_parameters()
        model.learning_rate = 0.01
        optimizer = model.configure_optimizers()
        model.shared_step(dict(batch))[0].backward()
        gradients.append(vector.grad.clone())
        optimizer.step()
        vectors.append(vector.detach())
    assert gradients[0].abs().sum() > 0 and torch.equal(*gradients) and torch.equal(*vectors)
    assert all(p.grad is not None for p in model.embedding_manager.post_bert.parameters())


def test_a_second_thing_stands_beside_every_learned_word():
    model = v1_model(personalization_config={"params": {"placeholder_strings": ["*", "<my cat>"]}})
    vocabulary = model.cond_stage_model.tknz_fn.tokenizer.get_vocab()
    prompts = model.company_prompts(["a photo of a *", "the <my cat> and a *"] * 20)
    assert len(set(prompts)) > 20
    for prompt, words in zip(prompts, (["*"], ["<my cat>", "*"]) * 20, strict=True):
        things = [w for w in prompt.replace("<my cat>", "").split() if w not in
                  {"a", "photo", "of", "the", "and", "with", "next", "to", "beside", "*"}]
        assert all(word in prompt for word in words) and set(things) <= set(vocabulary)
        assert len(things) <= len(words)


def test_preservation_asks_for_prompts_without_the_word_and_with_a_second_thing():
    model = v1_model(personalization_config={"params": {"everywhere": True}})
    tokens = model.ordinary_prompts(["a photo of a *", "the *"])
    star = int(model.embedding_manager.string_to_token_dict["*"])
    given = model.cond_stage_model.tknz_fn(["a photo of a *", "the *", ""])
    assert star not in tokens and torch.equal(tokens[given != star], given[given != star])
    for model.embedding_manager.everywhere in (True, False):
        torch.manual_seed(0)
        model.embedding_manager.reset_parameters()
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
    assert "val/loss_preservation" in model(z, ["a *"])[1]
    model.preservation_weight = 0
    assert "val/loss_preservation" not in model(z, ["a *"])[1]


def test_a_word_that_a_long_caption_pushes_out_is_no_error(recwarn):
    model = v1_model()
    recwarn.clear()
    loss = model.preservation_loss(["a photo of a " * 40 + "*"])
    assert float(loss.detach()) == 0 and not recwarn


def test_one_file_carries_word_and_layers(tmp_path, small_model):
    model = v1_model(personalization_config={"params": {"bottleneck": 24, "n_layer": 2, "everywhere": True}})
    disturb(model)
    model.embedding_manager.save(tmp_path / "embeddings.pt")
    other = v1_model()
    other.embedding_manager.load(tmp_path / "embeddings.pt")
    assert torch.equal(other.get_learned_conditioning(PROMPTS), model.get_learned_conditioning(PROMPTS))
    with pytest.raises(load.UserError, match="txt2img_v1.py"):
        small_model.embedding_manager.load(tmp_path / "embeddings.pt")
    with pytest.raises(load.UserError, match="without an adapter"):
        model.embedding_manager.load(GOLDEN / "embeddings.pt")
    with pytest.raises(load.UserError, match="only a .pt"):
        model.embedding_manager.save(tmp_path / "embeddings.safetensors")


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
    assert looked.status == 0 and "1 vectors go in" in looked.out, looked.err
    assert_one_line_error(run_main(check_placeholder.main, word), "txt2img_v1.py")
    assert_one_line_error(run_main(txt2img.main, "--embedding_path", word, *sample), "txt2img_v1.py")
    assert_one_line_error(run_main(txt2img_v1.main, "--embedding_path",
                                   "logs/example_green_apple/checkpoints/embeddings.pt", *sample), "txt2img.py")
    assert_one_line_error(run_main(train_new.main, *flags(tmp_path / "base", embedding_manager_ckpt=word)),
                          "train_new_v1.py")
