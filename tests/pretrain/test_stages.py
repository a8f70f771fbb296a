"""The stages of pre-training: short, on small networks, by their real commands."""

import json

import pytest
import torch
from omegaconf import OmegaConf

import load
from ldm.errors import UserError
from ldm.models.autoencoder import AutoencoderKL
from ldm.serialization import read_tensors
from pretrain import autoencoder, clip, ldm, publish, stage, tokenizer, world
from pretrain.flags import parser
from pretrain.stream import EmojiWorld, Onward, Pictures, collate, stream
from tests.conftest import ROOT, assert_one_line_error, close, run_main

pytestmark = pytest.mark.skipif(not (world.FONT.exists() and world.EMOJI_TEST.exists()),
                                reason="apt install fonts-noto-color-emoji unicode-cldr-core unicode-data")
SHORT = ["--every", 4, "--validation", 8, "--batch_size", 8, "--workers", 0, "--accelerator", "cpu", "--precision",
         "32-true"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The embedded model, as small as it goes: 32 px pictures, latents 4x4x4."""
    small = OmegaConf.load(ROOT / "models/ldm/emoji/config.yaml")
    params = small.model.params
    params.image_size = params.unet_config.params.image_size = 4
    params.unet_config.params |= {"model_channels": 32, "channel_mult": [1, 2], "attention_resolutions": [2]}
    params.first_stage_config.params.ddconfig |= {"resolution": 32, "ch": 8}
    params.cond_stage_config.params.n_layer = 1
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    OmegaConf.save(small, path)
    return path


def train(command, run, *arguments):
    """Train for as long as the arguments say: what is printed. A sitting that leaves pictures says so by its status."""
    result = run_main(command.main, "--run", run, *SHORT, *arguments)
    left = "the same command goes on" in result.out
    assert result.status == (stage.UNFINISHED if left else 0), result.err
    assert left == ("--minutes" in arguments)
    return result.out


def same(one, other):
    """Two runs ended with the same weights."""
    a, b = (read_tensors(run / "state.pt") for run in (one, other))
    assert a["step"] == b["step"]
    return all(torch.equal(a[part][n], b[part][n]) for part in ("weights", "ema") for n in a[part])


@pytest.fixture(scope="module")
def first_stage(config, tmp_path_factory):
    """The run of a small autoencoder that has seen 96 pictures."""
    run = tmp_path_factory.mktemp("runs") / "autoencoder"
    run_main(autoencoder.main, "--run", run, *SHORT, "--config", config, "--pictures", 96)
    return run


@pytest.mark.slow
def test_the_autoencoder_is_what_the_config_builds(config, first_stage):
    made = json.loads((first_stage / "made.json").read_text())["autoencoder"]
    assert made["pictures"] == 96 and made["result"]["scale_factor"] > 0 and made["sittings"][0]["to"] == 96
    model = load.instantiate_from_config(load.load_config(config).model.params.first_stage_config)
    load.load_weights(model, first_stage / "autoencoder.ckpt")
    assert model.downsampling == 8
    z = model.encode(torch.zeros(1, 3, 32, 32)).mode()
    assert z.shape == (1, 4, 4, 4) and model.decode(z).shape == (1, 3, 32, 32)
    best, last = (read_tensors(first_stage / file)["weights"] for file in ("best.pt", "state.pt"))
    assert all(torch.equal(weight, best[name]) for name, weight in model.state_dict().items())
    assert any(not torch.equal(best[name], last[name]) for name in best), "the averaged weights, not the last"
    losses = [float(line.split("\t")[4]) for line in (first_stage / "log.tsv").read_text().splitlines()[1:]]
    assert made["validation_loss"] == min(losses) and losses[-1] < losses[0]
    lines = (first_stage / "log.tsv").read_text().splitlines()
    assert len(lines) == 1 + 3 and "held-out PSNR" in lines[-1]


@pytest.mark.slow
def test_a_stage_that_was_stopped_ends_as_one_that_was_not(config, first_stage, tmp_path):
    """Stopped by the clock after its first steps, then resumed; with a worker that renders ahead."""
    out = train(autoencoder, tmp_path / "a", "--config", config, "--pictures", 96, "--minutes", 1e-5)
    assert "picture 32 of 96" in out and not (tmp_path / "a/autoencoder.ckpt").exists()
    out = train(autoencoder, tmp_path / "a", "--config", config, "--pictures", 96, "--workers", 1)
    assert "going on at step 4" in out and same(tmp_path / "a", first_stage)
    made = (tmp_path / "a/made.json").read_text()
    assert len(json.loads(made)["autoencoder"]["sittings"]) == 2
    train(autoencoder, tmp_path / "a", "--config", config, "--pictures", 96)  # once more, when all is seen
    assert json.loads((tmp_path / "a/made.json").read_text())["autoencoder"]["sittings"] == json.loads(made)[
        "autoencoder"]["sittings"]


@pytest.mark.slow
def test_the_diffusion_model_is_trained_resumed_and_drawn_with(config, first_stage, tmp_path, monkeypatch):
    monkeypatch.setattr(ldm, "WATCHED", ("a red apple",))
    arguments = ["--config", config, "--autoencoder", first_stage, "--pictures", 64, "--draws", 2]
    train(ldm, tmp_path / "whole", *arguments)
    train(ldm, tmp_path / "parts", *arguments, "--minutes", 1e-5)
    train(ldm, tmp_path / "parts", *arguments)
    assert same(tmp_path / "whole", tmp_path / "parts")
    made = json.loads((tmp_path / "whole/made.json").read_text())
    assert set(made) == {"autoencoder", "ldm"} and made["ldm"]["flags"]["draws"] == 2
    model = load.load_model_from_config(load.load_config(tmp_path / "whole/config.yaml"), tmp_path / "whole/model.ckpt")
    from ldm.generate import sample_prompt

    assert sample_prompt(model, "a red apple", [0], steps=2).shape == (1, 3, 32, 32)
    assert (tmp_path / "whole/samples-000004.png").exists()
    assert run_main(publish.main, "--run", tmp_path / "whole", "--out", tmp_path / "model").status == 0
    published = load.load_config(tmp_path / "model/config.yaml")
    assert published.model.params.cond_stage_config.params.tokenizer == str(tmp_path / "model/tokenizer")
    again = load.load_model_from_config(published, tmp_path / "model/model.ckpt")
    assert torch.equal(again.get_learned_conditioning(["a lemon"]), model.get_learned_conditioning(["a lemon"]))

    # a decoder trained on takes the place of the model's own, and changes neither its latents nor anything else
    start = tmp_path / "model/model.ckpt"
    train(autoencoder, tmp_path / "decoder", "--config", config, "--start", start, "--pictures", 32)
    made = json.loads((tmp_path / "decoder/made.json").read_text())["autoencoder"]
    assert made["result"]["scale_factor"] == published.model.params.scale_factor
    assert run_main(publish.main, "--run", tmp_path / "decoder", "--out", tmp_path / "model").status == 0
    other = load.load_model_from_config(load.load_config(tmp_path / "model/config.yaml"), start)
    for (name, old), new in zip(again.state_dict().items(), other.state_dict().values(), strict=True):
        trained = name.startswith(("first_stage_model.decoder", "first_stage_model.post_quant_conv"))
        assert torch.equal(old, new) != trained, name
    assert set(json.loads((tmp_path / "model/made.json").read_text())) == {"autoencoder", "ldm"}

    # and a UNet is trained on from the model, with more words
    out, first = tmp_path / "words", tmp_path / "model/tokenizer"
    assert run_main(tokenizer.main, "--world", "wide", "--extend", first, "--out", out).status == 0
    old, new = ((folder / "vocab.txt").read_text().splitlines() for folder in (first, out))
    assert new[: len(old)] == old and len(new) > len(old)
    train(ldm, tmp_path / "onward", "--config", config, "--start", start, "--tokenizer", out, "--pictures", 8,
          "--learning_rate", 1e-9)
    onward = load.load_model_from_config(load.load_config(tmp_path / "onward/config.yaml"),
                                         tmp_path / "onward/model.ckpt")
    assert close(onward.get_learned_conditioning(["a lemon"]), other.get_learned_conditioning(["a lemon"]))
    run = tmp_path / "kept"
    train(ldm, run, "--config", config, "--start", start, "--tokenizer", out, "--pictures", 16, "--keep_text")
    kept = load.load_model_from_config(load.load_config(run / "config.yaml"), run / "model.ckpt")
    assert close(kept.get_learned_conditioning(["a lemon"]), other.get_learned_conditioning(["a lemon"]))
    name, weights = "model.diffusion_model.out.2.weight", {n: m.state_dict() for n, m in (("a", kept), ("b", other))}
    assert not torch.equal(weights["a"][name], weights["b"][name])
    trained = read_tensors(run / "state.pt")["weights"]["tokens.weight"]
    assert trained.shape[0] == len(new) and torch.equal(trained[: len(old)], weights["b"][ldm.TOKENS])


def test_the_text_of_no_model_cannot_be_kept(tmp_path, first_stage):
    result = run_main(ldm.main, "--run", tmp_path, "--autoencoder", first_stage, "--keep_text")
    assert result.status == 2 and "--keep_text: of which model" in result.err


def test_an_autoencoder_for_larger_pictures_grows_out_of_one_without_patches():
    sizes = {"double_z": True, "z_channels": 4, "resolution": 16, "in_channels": 3, "out_ch": 3, "ch": 8,
             "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0, "norm_groups": 8}
    small, large = AutoencoderKL(sizes, 4), AutoencoderKL(sizes | {"resolution": 32, "patch": 2}, 4)
    autoencoder.grow(large, small.state_dict())
    x = torch.rand(2, 3, 32, 32)
    z = large.encode(x).mode()
    assert close(z, small.encode(torch.nn.functional.avg_pool2d(x, 2)).mode())
    assert close(large.decode(z), torch.nn.functional.interpolate(small.decode(z), scale_factor=2))
    with pytest.raises(UserError, match="encoder.conv_in.weight that the config's has not, or in another shape"):
        autoencoder.grow(AutoencoderKL(sizes | {"ch": 16, "patch": 2}, 4), small.state_dict())


def test_a_start_whose_latents_are_others_is_refused(config, tmp_path):
    result = run_main(ldm.main, "--run", tmp_path, *SHORT, "--config", config, "--start", "models/ldm/emoji/model.ckpt")
    assert_one_line_error(result, "its autoencoder is not the config's")
    result = run_main(ldm.main, "--run", tmp_path, *SHORT, "--config", config)
    assert_one_line_error(result, "--autoencoder: the run of pretrain.autoencoder")


@pytest.mark.slow
def test_the_judge_is_trained_resumed_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "judge_quality", lambda *_: {})
    concepts = world.all_concepts()
    monkeypatch.setattr(clip, "all_concepts", lambda: concepts[:4])
    arguments = ["--size", 32, "--pictures", 64, "--out", tmp_path / "judge"]
    train(clip, tmp_path / "whole", *arguments)
    train(clip, tmp_path / "parts", *arguments, "--minutes", 1e-5)
    train(clip, tmp_path / "parts", *arguments)
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert json.loads((tmp_path / "judge/concepts.json").read_text())[0]["name"] == concepts[0].name
    made = json.loads((tmp_path / "whole/made.json").read_text())["clip"]["flags"]
    assert made["tokenizer"] == "models/ldm/emoji/tokenizer" and made["out"] == str(tmp_path / "judge")  # in ROOT, not
    from ldm.judge import CLIPEvaluator

    features = CLIPEvaluator(str(tmp_path / "judge")).encode_images(clip.clean_renders(concepts[0], 32)[:2])
    assert features.shape == (2, 128)


@pytest.mark.slow
def test_another_network_does_not_go_on_from_a_state(config, first_stage, tmp_path):
    other = OmegaConf.load(config)
    other.model.params.first_stage_config.params.ddconfig.ch = 16
    OmegaConf.save(other, tmp_path / "other.yaml")
    state = (first_stage / "state.pt").read_bytes()
    result = run_main(autoencoder.main, "--run", first_stage, *SHORT, "--config", tmp_path / "other.yaml")
    assert_one_line_error(result, "state.pt: is of another network")
    assert (first_stage / "state.pt").read_bytes() == state


@pytest.mark.parametrize("command, arguments, line", [
    (autoencoder, ["--world", "wide"], "the wide world needs its drawings"),
    (autoencoder, ["--world", "wide", "--archive", "README.md", "--noto_share", 0.9, "--family_share", 0.5],
     "together they are more than 1"),
    (autoencoder, ["--strategy", "none"], "--strategy none"),
    (ldm, ["--autoencoder", "none"], "none/autoencoder.ckpt"),
    (clip, ["--tokenizer", "none"], "none/vocab.txt"),
])
def test_what_is_missing_is_said_before_anything_is_trained(command, arguments, line, tmp_path):
    assert_one_line_error(run_main(command.main, "--run", tmp_path / "run", *SHORT, *arguments), line)
    assert not (tmp_path / "run").exists()


def test_a_picture_is_a_function_of_seed_and_number():
    emoji = EmojiWorld()
    pictures, again, other = (Pictures(emoji, 32, seed, captions=2) for seed in ("0", "0", "1"))
    batch = pictures.batch([5, 6])
    assert torch.equal(batch.pixels[1], again.batch([6]).pixels[0]) and batch.captions[1] == again[6][1]
    assert not torch.equal(batch.pixels[1], other.batch([6]).pixels[0])
    assert batch.pixels.shape == (2, 32, 32, 3) and batch.pixels.dtype == torch.uint8
    assert [len(c) for c in batch.captions] == [2, 2]


def test_a_share_of_captions_is_left_out():
    captions = [t for c in Pictures(EmojiWorld(), 8, "0", captions=3, drop=0.3).batch(range(60)).captions for t in c]
    assert 30 < captions.count("") < 80 and len(captions) == 180


def test_half_of_the_judges_pictures_are_in_runs_of_things_that_look_alike():
    emoji = EmojiWorld()
    shown = Pictures(emoji, 8, "0", alike=True).batch(range(8)).shown
    single = shown[shown >= 0]
    assert len(single) > 2 and (single.max() - single.min() < 8 or (single.max() - single.min()) > 900)


@pytest.mark.slow
def test_workers_render_what_the_process_itself_would():
    pictures = Pictures(EmojiWorld(), 16, "0")
    plain, ahead = (stream(pictures, Onward(3, 4), workers) for workers in (0, 2))
    for _ in range(3):
        (one,), (other,) = next(plain), next(ahead)
        assert torch.equal(one, other)


def test_several_processes_share_the_pictures_of_a_step():
    parts = [next(iter(Onward(2, 3, rank, 2))) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(12, 18))
    assert next(iter(Onward(2, 6))) == list(range(12, 18))


def test_the_rate_warms_up_stays_and_cools_down():
    opt = parser("", "", 1000, 1, 1.0).parse_args(["--run", "x"])
    opt.cooldown = 0.5
    one = stage.Stage.__new__(stage.Stage)
    one.opt, one.per_step, one.peaks = opt, 1, [[1.0]]
    one.optimizers = [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)]
    rates = []
    for one.step in (0, 5, 100, 499, 750, 999):
        one.set_rate()
        rates.append(one.optimizers[0].param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.51, 1.0, 1.0, 0.5, 0.01], abs=0.002)


def test_collate_keeps_order():
    emoji = Pictures(EmojiWorld(), 8, "0")
    assert collate([emoji[3], emoji[1]]).captions == [emoji[3][1], emoji[1][1]]
