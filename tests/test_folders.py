"""Folders of diffusers: written by it, read here, drawn with, trained on, written here, read by it."""

import json
import shutil

import pytest
import safetensors.torch
import torch

import load
import train_new
import txt2img
from check import check_initword, check_model
from ldm.diffusers_folder import folder_config, is_model_folder
from ldm.embedding_files import read_embeddings
from ldm.errors import UserError
from ldm.files import file_identity
from ldm.generate import sample_prompt
from ldm.parameters import picture_parameters
from ldm.serialization import write_tensors
from tests.conftest import EMOJI, GOLDEN, assert_one_line_error, run_main
from tests.models import as_in_2022, ldm_pipeline, stable_diffusion_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PIPELINES = {"ldm": ldm_pipeline, "sd": stable_diffusion_pipeline}
PROMPT, STEPS, SCALE, SEED = "a photo of a cat", 5, 6.0, 3


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder of each model, as diffusers writes it; not to be changed."""
    place = tmp_path_factory.mktemp("folders")
    for name, make in PIPELINES.items():
        make().save_pretrained(place / name)
    return place


@pytest.fixture(params=list(PIPELINES))
def folder(folders, request):
    return folders / request.param


def model_of(folder):
    return load.load_model_from_config(load.model_config(folder), folder)


def drawn_by_diffusers(folder, prompt=PROMPT, words=()):
    """A picture [3, H, W] in 0...1 of seed SEED."""
    from diffusers import DDIMScheduler, DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    pipeline.set_progress_bar_config(disable=True)
    for token, file in words:
        pipeline.load_textual_inversion(str(file), token=token)
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(SEED))
    return pipeline([prompt], height=64, width=64, num_inference_steps=STEPS, guidance_scale=SCALE,
                    latents=noise[None], output_type="pt").images[0]


def drawn(model, prompt=PROMPT):
    return (sample_prompt(model, prompt, [SEED], "ddim", STEPS, SCALE)[0] / 2 + 0.5).clamp(0, 1)


def weights_of(model):
    return {n: v for n, v in model.state_dict().items() if not n.startswith("embedding_manager.")}


def assert_same_weights(model, other):
    ours, theirs = weights_of(model), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert [n for n in ours if not torch.equal(ours[n], theirs[n])] == []


def test_a_folder_draws_what_diffusers_draws(folder):
    theirs = drawn_by_diffusers(folder)
    assert theirs.std() > 0.2, "not one colour"
    assert (drawn(model_of(folder)) - theirs).abs().max() < 1e-3


def test_a_folder_that_is_written_here_is_the_same_model_to_both(folder, tmp_path):
    result = run_main(check_model.main, folder, "--export", tmp_path / "out")
    assert result.status == 0 and f"{tmp_path / 'out'}: written" in result.err
    assert_same_weights(model_of(tmp_path / "out"), model_of(folder))
    assert folder_config(tmp_path / "out") == folder_config(folder)
    assert torch.equal(drawn_by_diffusers(tmp_path / "out"), drawn_by_diffusers(folder))
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


def test_a_checkpoint_goes_to_a_folder_and_back(folder, tmp_path):
    """From our own layout: a file of all weights, and a config."""
    model = model_of(folder)
    write_tensors(tmp_path / "model.ckpt", {"state_dict": weights_of(model)})
    config = load.model_config(folder)
    tokenizer = {"version" if folder.name == "sd" else "tokenizer": str(folder / "tokenizer")}
    config = load.merge_configs(config, {"model": {"params": {"cond_stage_config": {"params": tokenizer}}}})
    (tmp_path / "config.yaml").write_text(json.dumps({"model": dict(load.OmegaConf.to_container(config)["model"])}))
    result = run_main(check_model.main, tmp_path / "model.ckpt", "--export", tmp_path / "out")
    assert result.status == 0, result.err
    assert_same_weights(model_of(tmp_path / "out"), model)
    assert (drawn(model) - drawn_by_diffusers(tmp_path / "out")).abs().max() < 1e-3


def test_the_small_published_model_is_a_folder_too(tmp_path):
    """With random weights, made by the published code: its autoencoder halves once, which diffusers' pipeline does not
    expect; its parts do."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    result = run_main(check_model.main, GOLDEN / "model.ckpt", "--config", GOLDEN / "config.yaml", "--export",
                      tmp_path / "out")
    assert result.status == 0, result.err
    model = load.load_model_from_config(load.load_config(GOLDEN / "config.yaml"), GOLDEN / "model.ckpt")
    assert_same_weights(model_of(tmp_path / "out"), model)
    x, t, c = torch.randn(1, 4, 8, 8), torch.tensor([7]), torch.randn(1, 77, 16)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "out/unet").eval()
    vae = AutoencoderKL.from_pretrained(tmp_path / "out/vqvae").eval()
    with torch.no_grad():
        assert torch.allclose(unet(x, t, c).sample, model.apply_model(x, t, c), atol=1e-4)
        assert torch.allclose(vae.decode(x).sample, model.first_stage_model.decode(x), atol=1e-4)


# Other times, other files --------------------------------------------------------------------------------------------

def test_a_folder_of_2022(folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "old")
    as_in_2022(old)
    names = {str(p.relative_to(old)) for p in old.rglob("*.bin")}
    assert len(names) == 3 and not list(old.rglob("*.safetensors"))
    vae = torch.load(next(old.glob("v*/*.bin")))
    assert any(".query." in n for n in vae) and not any(".to_q." in n for n in vae)
    assert_same_weights(model_of(old), model_of(folder))


def test_weights_in_several_files_in_half_precision_and_with_linear_projections(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(file)
    file.unlink()
    halves = [dict(list(weights.items())[i::2]) for i in range(2)]
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        safetensors.torch.save_file(half, copy / "unet" / name)
    index = {"weight_map": {n: name for name, half in zip(names, halves, strict=True) for n in half}}
    (copy / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    text = next(p for p in copy.glob("*/model.safetensors"))
    safetensors.torch.save_file({n: w.half() for n, w in safetensors.torch.load_file(text).items()},
                                text.with_name("model.fp16.safetensors"))
    text.unlink()
    model = model_of(copy)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    ours, theirs = weights_of(model), weights_of(model_of(folder))
    for name in ours:
        expected = theirs[name].half().float() if name.startswith("cond_stage_model.") else theirs[name]
        assert torch.equal(ours[name], expected), name
    index["weight_map"]["x"] = "../../elsewhere.safetensors"
    (copy / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="index.json: names no files of this folder"):
        model_of(copy)


def test_projections_may_be_matrices(folders, tmp_path):
    copy = shutil.copytree(folders / "sd", tmp_path / "copy")
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(file)
    flat = [n for n in weights if ".attentions." in n and n.endswith(("proj_in.weight", "proj_out.weight"))]
    assert len(flat) == 12
    safetensors.torch.save_file(weights | {n: weights[n].flatten(1) for n in flat}, file)
    content = json.loads((copy / "unet/config.json").read_text()) | {"use_linear_projection": True}
    (copy / "unet/config.json").write_text(json.dumps(content))
    assert_same_weights(model_of(copy), model_of(folders / "sd"))


def test_heads_of_one_width():
    """As Stable Diffusion 2's network has them: their number differs from level to level."""
    from diffusers import UNet2DConditionModel

    from ldm.diffusers_configs import Folder, folder_files, model_params
    from tests.models import AUTOENCODER, NOISE, UNET

    unet = UNet2DConditionModel(**UNET | {"attention_head_dim": (2, 4)}).config
    params = model_params(Folder(("unet", dict(unet)), ("vae", {**AUTOENCODER}), ("text", {"d_model": 32,
                          "encoder_ffn_dim": 128}), ("scheduler", NOISE | {"prediction_type": "v_prediction"})))
    assert params["unet_config"]["params"]["num_head_channels"] == 16 and params["parameterization"] == "v"
    files = folder_files({"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params})
    assert files["unet"]["attention_head_dim"] == [2, 4] and files["scheduler"]["prediction_type"] == "v_prediction"


def test_safety_checker_and_the_like_are_passed_over(folders, tmp_path):
    copy = shutil.copytree(folders / "sd", tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
              "feature_extractor": ["transformers", "CLIPFeatureExtractor"]}
    (copy / "model_index.json").write_text(json.dumps(index))
    (copy / "safety_checker").mkdir()
    (copy / "safety_checker/pytorch_model.bin").write_bytes(b"anything")
    assert_same_weights(model_of(copy), model_of(folders / "sd"))


# Through the commands ------------------------------------------------------------------------------------------------

def only(paths):
    (path,) = paths
    return path


def test_learn_a_word_and_draw_it(folder, tmp_path):
    """With the two commands of the first page: no config of ours says what the model is."""
    result = run_main(train_new.main, "--base", "configs/emoji/finetune.yaml", "-t", "--actual_resume", folder,
                      "--logdir", tmp_path / "logs", "--data_root", "dataset/green_apple", "--init_word", "sculpture",
                      "--placeholder_string", "<my-apple>", "lightning.trainer.max_steps=2", "data.params.batch_size=2",
                      "--judge", "off", "lightning.callbacks.image_logger.params.disabled=true")
    assert result.status == 0, result.err
    run = only((tmp_path / "logs").iterdir())
    word = run / "checkpoints/embeddings.pt"
    start = model_of(folder).cond_stage_model
    assert read_embeddings(word)["<my-apple>"].shape == (1, 32)
    assert not torch.equal(read_embeddings(word)["<my-apple>"][0],
                           start.token_embeddings.weight[start.word_ids("sculpture")[0]])
    result = run_main(train_new.main, "-t", "--resume", run, "lightning.trainer.max_steps=3")
    assert result.status == 0 and "going on at step 2" in result.err
    result = run_main(txt2img.main, "--ckpt_path", folder, "--embedding_path", word, "--prompt",
                      "a photo of <my-apple>", "--ddim_steps", 2, "--n_samples", 1, "--outdir", tmp_path / "out")
    assert result.status == 0 and "warning" not in result.err, result.err
    _, _, settings = picture_parameters(only((tmp_path / "out/samples").iterdir()))
    assert settings["Model hash"] == file_identity(folder) and settings["Config"].endswith("model_index.json")


def test_the_published_config_reads_the_folders_tokenizer(folders, tmp_path, monkeypatch):
    """A config that names a tokenizer of the hub is no reason to ask the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = load.load_config("configs/stable-diffusion/v1-finetune.yaml")
    params = load.model_config(folders / "sd").model.params
    config = load.merge_configs(config, {"model": {"params": {k: params[k] for k in (
        "image_size", "unet_config", "first_stage_config")}}})
    config.model.params.cond_stage_config.params.update(
        {k: v for k, v in params.cond_stage_config.params.items() if k != "version"})
    model = load.load_model_from_config(config, folders / "sd")
    assert model.cond_stage_model.tokenizer_name == str(folders / "sd/tokenizer")
    config.data.params.train.params.size = config.data.params.validation.params.size = 64
    (tmp_path / "v1-finetune.yaml").write_text(json.dumps(load.OmegaConf.to_container(config)))
    result = run_main(train_new.main, "--base", tmp_path / "v1-finetune.yaml", "-t", "--actual_resume", folders / "sd",
                      "--logdir", tmp_path / "logs", "--data_root", "dataset/green_apple", "--init_word", "sculpture",
                      "data.params.train.params.repeats=1", "data.params.validation=null",
                      "lightning.trainer.max_steps=1", "lightning.callbacks.image_logger.params.disabled=true")
    assert result.status == 0, result.err
    own = load.merge_configs(config, {"model": {"params": {"cond_stage_config": {"params": {
        "version": str(tmp_path)}}}}})
    with pytest.raises(UserError, match=f"tokenizer '{tmp_path}' is neither"):
        load.load_model_from_config(own, folders / "sd")


def test_look_inside(folder):
    result = run_main(check_model.main, folder)
    assert result.status == 0 and "UNet" in result.out and f"compared with {folder}/model_index.json" in result.out
    assert "misses: none" in result.out and "not expect: none" in result.out and "shape: none" in result.out
    result = run_main(check_initword.main, "sculpture", "--ckpt_path", folder)
    assert result.status == 0 and "sculpture" in result.out


def test_v2_is_not_for_stable_diffusion(folders, tmp_path):
    result = run_main(txt2img.main, "--variant", "v2", "--ckpt_path", folders / "sd", "--outdir", tmp_path / "out")
    assert_one_line_error(result, "--variant v2", "Stable Diffusion's")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_words_travel_between_both(folders, tmp_path, suffix):
    """Of several vectors, under any name, in prompts with other words around it."""
    model = model_of(folders / "sd")
    torch.manual_seed(1)
    write_tensors(tmp_path / "start.safetensors", {"<my-thing>": torch.randn(3, 32) * 0.1})
    model.embedding_manager.load(tmp_path / "start.safetensors")
    word = tmp_path / f"word.{suffix}"
    model.embedding_manager.save(word)
    for prompt in ("a photo of <my-thing>, sculpture", "<my-thing> of a <my-thing>."):
        theirs = drawn_by_diffusers(folders / "sd", prompt, [("<my-thing>", word)])
        assert (drawn(model, prompt) - theirs).abs().max() < 1e-3, prompt
        assert (drawn(model, prompt.replace("<my-thing>", "cat")) - theirs).abs().max() > 0.05, "it is heeded"


# What is none --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("file, change, words", [
    ("unet/config.json", {"addition_embed_type": "text_time"}, ["unet/config.json: addition_embed_type=text_time"]),
    ("unet/config.json", {"_class_name": "UNet3DConditionModel"}, ["UNet3DConditionModel"]),
    ("unet/config.json", {"block_out_channels": [32, 50]}, ["block_out_channels=[32, 50]"]),
    ("unet/config.json", {"block_out_channels": []}, ["block_out_channels=[]"]),
    ("unet/config.json", {"block_out_channels": "wide"}, ["block_out_channels=wide", "a list"]),
    ("unet/config.json", {"block_out_channels": [32, 64, 64]}, ["down_block_types"]),
    ("unet/config.json", {"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}, ["down_block_types"]),
    ("unet/config.json", {"attention_head_dim": [0, 0]}, ["attention_head_dim"]),
    ("unet/config.json", {"attention_head_dim": [3, 5]}, ["attention_head_dim"]),
    ("unet/config.json", {"in_channels": 9}, ["channels=4", "must be 9"]),
    ("unet/config.json", {"layers_per_block": 10**9}, ["layers_per_block"]),
    ("vae/config.json", {"latents_mean": [0.0] * 4}, ["vae/config.json: latents_mean"]),
    ("vae/config.json", {"down_block_types": ["AttnDownEncoderBlock2D"] * 4}, ["down_block_types"]),
    ("vae/config.json", {"scaling_factor": -1}, ["scaling_factor=-1", "above 0"]),
    ("vae/config.json", {"block_out_channels": [32, 32, 64, 128]}, ["not a checkpoint of this model"]),
    ("text_encoder/config.json", {"architectures": ["T5EncoderModel"]}, ["T5EncoderModel"]),
    ("text_encoder/config.json", {"hidden_act": "relu"}, ["hidden_act", "quick_gelu"]),
    ("text_encoder/config.json", {"num_attention_heads": 5}, ["multiple of n_head"]),
    ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, ["beta_schedule=sigmoid", "scaled_linear"]),
    ("scheduler/scheduler_config.json", {"prediction_type": ["v"]}, ["prediction_type"]),
    ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModel"]}, ["with text_encoder_2"]),
    ("model_index.json", {"vae": None}, ["without autoencoder"]),
    ("model_index.json", {"bert": ["x", "y"]}, ["without text"])])
def test_what_this_project_has_no_class_for_is_named(folders, tmp_path, file, change, words):
    copy = shutil.copytree(folders / "sd", tmp_path / "copy", copy_function=shutil.copyfile)
    content = json.loads((copy / file).read_text()) | change
    (copy / file).write_text(json.dumps(content))
    result = run_main(check_model.main, copy, "--export", tmp_path / "out")
    assert_one_line_error(result, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a": "' + b"x" * 2**21 + b'"}'])
def test_files_that_are_no_json(folders, tmp_path, content):
    copy = shutil.copytree(folders / "sd", tmp_path / "copy")
    (copy / "unet/config.json").write_bytes(content)
    assert_one_line_error(run_main(check_model.main, copy), "unet/config.json")


def test_folders_that_hold_no_model(folders, tmp_path):
    assert_one_line_error(run_main(txt2img.main, "--ckpt_path", tmp_path), f"{tmp_path}: no such file, but a folder")
    copy = shutil.copytree(folders / "sd", tmp_path / "copy")
    (copy / "unet/diffusion_pytorch_model.safetensors").unlink()
    assert_one_line_error(run_main(txt2img.main, "--ckpt_path", copy, "--outdir", tmp_path / "out"),
                          f"{copy}/unet: no weights there")
    (copy / "unet/diffusion_pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert_one_line_error(run_main(txt2img.main, "--ckpt_path", copy, "--outdir", tmp_path / "out"),
                          "unet/diffusion_pytorch_model.bin", "Git LFS pointer")
    assert_one_line_error(run_main(txt2img.main, "--embedding_path", copy, "--outdir", tmp_path / "out"), "folder")
    assert is_model_folder(copy) and not is_model_folder(tmp_path) and not is_model_folder(copy / "model_index.json")


def test_what_cannot_be_written(folders, tmp_path):
    result = run_main(check_model.main, EMOJI, "--export", tmp_path / "out")
    assert_one_line_error(result, "model.params.unet_config.params.pooled_context", "diffusers has no class")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    result = run_main(check_model.main, folders / "sd", "--export", tmp_path / "full")
    assert_one_line_error(result, "not empty")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("")
    assert_one_line_error(run_main(check_model.main, folders / "sd", "--export", tmp_path / "file/out"), "file/out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]


def test_averaged_weights_are_written_where_they_are_used(folders, tmp_path):
    model = model_of(folders / "ldm")
    weights = weights_of(model)
    averages = {"model_ema." + n.removeprefix("model.").replace(".", ""): w + 1 for n, w in weights.items()
                if n.startswith("model.")}
    write_tensors(tmp_path / "model.ckpt", {"state_dict": weights | averages})
    config = load.OmegaConf.to_container(load.model_config(folders / "ldm"))
    name = "model.diffusion_model.out.2.bias"
    for use_ema in (False, True):
        config["model"]["params"]["use_ema"] = use_ema
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        result = run_main(check_model.main, tmp_path / "model.ckpt", "--export", tmp_path / f"{use_ema}")
        assert result.status == 0, result.err
        assert torch.equal(model_of(tmp_path / f"{use_ema}").state_dict()[name], weights[name] + use_ema)


def test_a_folder_is_told_from_another_by_what_is_in_it(folders, tmp_path):
    copy = shutil.copytree(folders / "sd", tmp_path / "copy")
    assert file_identity(copy) == file_identity(folders / "sd") != file_identity(folders / "ldm")
    (copy / "unet/config.json").write_text("{}")
    assert file_identity(copy) != file_identity(folders / "sd")
