"""The latent diffusion model: what is trainable, what a step changes, the full-size model's names and shapes."""

import json

import pytest
import torch

import load
from ldm.errors import UserError
from ldm.models.diffusion.ddpm import snr_weights
from tests.conftest import EMOJI, ROOT, close


@pytest.mark.parametrize("config", [
    "txt2img-1p4B-finetune.yaml", "txt2img-1p4B-finetune_style.yaml", "txt2img-1p4B-eval.yaml",
    "txt2img-1p4B-eval_with_tokens.yaml", "txt2img-1p4B-finetune-v1.yaml", "txt2img-1p4B-eval-v1.yaml",
    "txt2img-1p4B-finetune-v2.yaml", "txt2img-1p4B-eval-v2.yaml"])
def test_names_and_shapes_of_the_published_model(config):
    published = json.loads((ROOT / "tests/golden/text2img-large.keys.json").read_text())
    with torch.device("meta"):
        model = load.instantiate_from_config(load.load_config(ROOT / "configs/latent-diffusion" / config).model)
    own = {n: [list(v.shape), str(v.dtype)] for n, v in model.state_dict().items()
           if not n.startswith("embedding_manager.")}
    assert own == published
    assert model.betas.device.type == "cpu", "the schedule needs no checkpoint"


def test_only_the_placeholder_is_trained(small_model):
    model = small_model.train()
    model.learning_rate = 0.01
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    (vectors,) = model.trainable_parameters()
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["embedding_manager.string_to_param_dict.*"]
    optimizer = model.configure_optimizers()
    images = torch.rand(2, 16, 16, 3) * 2 - 1
    loss, _ = model.shared_step({"image": images, "caption": ["a photo of a *", "the *"], "key": ["a", "b"]})
    loss.backward()
    optimizer.step()
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert changed == ["embedding_manager.string_to_param_dict.*"]
    assert all(p.grad is None for p in model.parameters() if p is not vectors)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 1


def test_timesteps_come_from_the_range_asked_for(small_model, monkeypatch):
    seen, p_losses = [], small_model.p_losses
    monkeypatch.setattr(small_model, "p_losses", lambda x, c, t, noise: (seen.append(t), p_losses(x, c, t, noise))[1])
    z = torch.zeros(64, small_model.channels, small_model.image_size, small_model.image_size)
    small_model.timestep_range = (3, 5)
    small_model(z, ["*"] * 64)
    assert set(seen[0].tolist()) == {3, 4}


def test_frozen_parts_stay_in_eval_mode(small_model):
    model = small_model.train()
    assert model.training and model.embedding_manager.training
    for part in (model.model, model.first_stage_model, model.cond_stage_model):
        assert not any(m.training for m in part.modules())


def test_pictures_are_encoded_once(small_model):
    calls = []
    small_model.first_stage_model.encoder.register_forward_hook(lambda *_: calls.append(1))
    batch = {"image": torch.rand(2, 16, 16, 3), "caption": ["*", "*"], "key": ["a", "b"]}
    first, second = small_model._posterior(batch), small_model._posterior(batch)
    assert len(calls) == 2
    assert torch.equal(first.mean, second.mean) and torch.equal(first.logvar, second.logvar)
    whole = small_model.encode_first_stage(batch["image"].permute(0, 3, 1, 2))
    assert torch.allclose(first.mean, whole.mean, atol=1e-5)


def test_chance_follows_the_position(small_model):
    batch = {"image": torch.rand(2, 16, 16, 3), "caption": ["*", "*"], "key": ["a", "b"]}

    def loss(position):
        torch.rand(3)  # whatever happened before
        return float(small_model.shared_step(batch | {"position": torch.tensor([position])})[0].detach())

    assert loss(0) == loss(0) != loss(2)


def test_gradient_checkpointing_changes_nothing(small_model):
    model = small_model.train()
    x, t, noise = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 4, 8, 8)

    def gradient(enabled):
        for module in model.modules():
            if hasattr(module, "use_checkpoint"):
                module.use_checkpoint = enabled
        (vectors,) = model.trainable_parameters()
        vectors.grad = None
        model.p_losses(x, model.get_learned_conditioning(["a *"]), t, noise)[0].backward()
        return vectors.grad

    assert torch.allclose(gradient(True), gradient(False), rtol=1e-5, atol=1e-8)


def test_averaged_weights():
    config = load.load_config(ROOT / "tests/golden/dev/config.yaml")
    config.model.params.use_ema = True
    model = load.instantiate_from_config(config.model)
    name, parameter = next(iter(model.model.named_parameters()))
    start = parameter.detach().clone()
    with torch.no_grad():
        parameter += 1
    model.model_ema(model.model)
    with model.ema_scope():
        assert torch.allclose(parameter, start + 1 - 2 / 11)  # first decay: (1 + 1) / (10 + 1)
    assert torch.equal(parameter, start + 1)
    assert any(n == f"model_ema.{name.replace('.', '')}" for n in model.state_dict())


def test_images_to_look_at(small_model):
    batch = {"image": torch.rand(3, 16, 16, 3) * 2 - 1, "caption": ["a *"] * 3}
    images = small_model.log_images(batch, N=2, ddim_steps=3, unconditional_guidance_scale=4.0)
    assert set(images) == {"inputs", "reconstruction", "samples", "samples_scaled"}
    assert all(x.shape == (2, 3, 16, 16) and torch.isfinite(x).all() for x in images.values())
    assert not torch.equal(images["samples"], images["samples_scaled"])
    assert torch.equal(images["inputs"], batch["image"][:2].permute(0, 3, 1, 2))
    mode = small_model.encode_first_stage(images["inputs"]).mode()
    assert close(images["reconstruction"], small_model.first_stage_model.decode(mode))
    assert "samples" not in small_model.log_images(batch, sample=False)


@pytest.mark.parametrize("change, words", [
    ({"conditioning_key": "concat"}, "crossattn"), ({"parameterization": "x0"}, "eps"), ({"loss_type": "huber"}, "l2")])
def test_what_this_code_does_not_have_is_refused(change, words):
    config = load.load_config(ROOT / "tests/golden/dev/config.yaml")
    config.model.params.update(change)
    with pytest.raises(UserError, match=words), torch.device("meta"):
        load.instantiate_from_config(config.model)


def test_a_velocity_network_gives_the_same_noise(small_model):
    """A network that answers with the true velocity makes the same predictions as one that answers with the noise."""
    x, noise, t = torch.randn(4, 4, 8, 8), torch.randn(4, 4, 8, 8), torch.tensor([0, 300, 700, 999])
    alpha, sigma = (getattr(small_model, n)[t][:, None, None, None] for n in
                    ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"))
    small_model.parameterization = "v"
    small_model.model.forward = lambda x_t, t, context: alpha * noise - sigma * x
    assert torch.allclose(small_model.apply_model(small_model.q_sample(x, t, noise), t, None), noise, atol=1e-5)
    assert float(small_model.p_losses(x, None, t, noise)[0]) < 1e-9


def test_loss_weights_bound_the_error_of_the_picture(small_model):
    signal = small_model.alphas_cumprod
    snr = signal / (1 - signal)
    weights = snr_weights(signal, 0.5, 5.0)
    assert torch.equal(weights[(snr > 0.5) & (snr < 5)], torch.ones_like(weights[(snr > 0.5) & (snr < 5)]))
    assert torch.allclose(weights * snr, snr.clamp(0.5, 5.0), rtol=1e-5)
    small_model.simple_weights = weights
    x, noise, t = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.tensor([10])
    cond = small_model.get_learned_conditioning(["a *"])
    loss, parts = small_model.p_losses(x, cond, t, noise)
    assert torch.allclose(loss, weights[10] * parts["val/loss_simple"]) and weights[10] < 0.5


def with_gamma(parameterization, **params):
    """The embedded model's config, what its network predicts changed, with weights of the loss."""
    config = load.load_config(EMOJI.parent / "config.yaml")
    config.model.params.update({"parameterization": parameterization, **params})
    return load.load_model_from_config(config, EMOJI)


@pytest.mark.parametrize("parameterization", ["eps", "v"])
def test_min_snr_is_the_papers_weight_of_what_the_network_predicts(parameterization):
    """min(SNR, 5) / SNR of the noise's error, min(SNR, 5) / (SNR + 1) of the velocity's (Hang et al., section 3.4)."""
    model = with_gamma(parameterization, min_snr_gamma=5)
    x, noise, t = torch.randn(6, 4, 16, 16), torch.randn(6, 4, 16, 16), torch.tensor([0, 20, 90, 300, 700, 999])
    cond = model.get_learned_conditioning(["a *"] * 6)
    alpha, sigma = (getattr(model, n)[t].reshape(-1, 1, 1, 1) for n in
                    ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"))
    snr = (alpha / sigma).square().flatten()
    with torch.no_grad():
        predicted = model.model(model.q_sample(x, t, noise), t, cond)
        target = noise if parameterization == "eps" else alpha * noise - sigma * x
        error = (predicted - target).square().mean(dim=(1, 2, 3))
        expected = (snr.clamp(max=5) / (snr if parameterization == "eps" else snr + 1) * error).mean()
        assert torch.allclose(model.p_losses(x, cond, t, noise)[0], expected, rtol=1e-3)


def test_min_snr_goes_before_the_models_own_weights():
    weights = with_gamma("v", min_snr_gamma=5).simple_weights
    assert torch.equal(weights, with_gamma("v", snr_weight=[0.0, 5.0]).simple_weights)
    assert not torch.equal(weights, with_gamma("v").simple_weights)


def test_norms_are_kept_and_directions_too(emoji_model):
    vectors = emoji_model.embedding_manager.string_to_param_dict["*"]
    before = vectors.detach().clone()
    with torch.no_grad():
        vectors.copy_(torch.randn_like(vectors) * 9)
    direction = torch.nn.functional.normalize(vectors.detach().clone(), dim=1)
    emoji_model.keep_norms()
    usual = emoji_model.cond_stage_model.transformer.token_emb.weight.norm(dim=1).median()
    assert torch.allclose(vectors.norm(dim=1), usual) and torch.allclose(vectors / usual, direction, atol=1e-6)
    with torch.no_grad():
        vectors.copy_(before)
