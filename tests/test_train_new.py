"""Learning a word from the command line on the embedded model: runs, resumed runs, interrupted runs, bad input."""

import glob
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import train_new
from ldm.modules.embedding_manager import read_embeddings
from tests.conftest import EMOJI, GOLDEN, ROOT, assert_one_line_error, run_main, run_script

DATA = "dataset/flamingo"
QUICK = ("data.params.batch_size=2", "data.params.train.params.repeats=4",
         "lightning.callbacks.image_logger.params.disabled=true")


def flags(logdir, **changes):
    values = {"base": "configs/emoji/finetune.yaml", "actual_resume": EMOJI, "data_root": DATA, "init_word": "bird",
              "name": "test", "logdir": logdir} | changes
    return [x for k, v in values.items() if v is not None for x in (f"--{k}", v)]


def only_run(logdir) -> Path:
    (folder,) = (Path(p) for p in glob.glob(f"{logdir}/*"))
    return folder


def learned(folder) -> torch.Tensor:
    return read_embeddings(folder / "checkpoints" / "embeddings.pt")["*"]


@pytest.mark.slow
def test_the_command_of_the_readme(tmp_path):
    result = run_script("train_new.py", "--base", "configs/emoji/finetune.yaml", "-t", "--actual_resume", EMOJI,
                        "--name", "NAME", "--gpus", "0", "--data_root", DATA, "--init_word", "bird",
                        "--placeholder_string", "*", "--logdir", tmp_path, "lightning.trainer.max_steps=4",
                        "lightning.modelcheckpoint.params.every_n_train_steps=2", "data.params.batch_size=2",
                        "lightning.callbacks.image_logger.params.batch_frequency=3",
                        "lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps=2")
    assert result.returncode == 0, result.stderr
    assert "'*': 1 vector from 'bird' = bird" in result.stderr
    if not torch.cuda.is_available():
        assert "no GPU that PyTorch can use; running on the CPU" in result.stderr
    folder = only_run(tmp_path)
    assert folder.name.startswith("flamingo") and folder.name.endswith("_NAME")
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {
        "embeddings.pt", "embeddings_gs-2.pt", "embeddings_gs-4.pt", "last.ckpt"}
    assert sum(p.stat().st_size for p in (folder / "checkpoints").iterdir()) < 100_000, "kilobytes, not gigabytes"
    for step in (0, 3, 4):
        for name in ("inputs", "reconstruction", "samples", "samples_scaled"):
            assert Image.open(folder / "images" / "train" / f"{name}_gs-{step:06}.png").size == (134, 68), "two"
    assert list((folder / "tensorboard").glob("events*"))
    (project,) = (folder / "configs").glob("*-project.yaml")
    config = OmegaConf.load(project)
    assert config.data.params.train.params.data_root == DATA
    assert config.data.params.train.params.placeholder_token == "*"
    words = config.model.params.personalization_config.params
    assert list(words.placeholder_strings) == ["*"] and list(words.initializer_words) == ["bird"]


@pytest.mark.slow
def test_training_lowers_the_loss_on_the_pictures(tmp_path, emoji_model):
    """The learned word explains the pictures better than the word it started from, on draws neither has seen."""
    from ldm.data.personalized import PersonalizedBase
    result = run_main(train_new.main, *flags(tmp_path), "-t", *QUICK, "lightning.trainer.max_steps=40",
                      "data.params.batch_size=4", "model.base_learning_rate=0.002")
    assert result.status == 0, result.err
    data = PersonalizedBase(ROOT / DATA, size=64, set="val")
    items = [data[p] for p in range(20)]
    batch = {"image": torch.stack([i["image"] for i in items])}
    z = emoji_model.get_first_stage_encoding(emoji_model._posterior(batch).mode())
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(200, 900, (20,), generator=generator)
    noise = torch.randn(z.shape, generator=generator)

    @torch.no_grad()
    def loss(word):
        cond = emoji_model.get_learned_conditioning([i["caption"].replace("*", word) for i in items])
        return float(emoji_model.p_losses(z, cond, t, noise)[0])

    before = loss("bird")
    kept = emoji_model.embedding_manager.string_to_param_dict["*"].detach().clone()
    emoji_model.embedding_manager.string_to_param_dict["*"].data = learned(only_run(tmp_path))
    after = loss("*")
    emoji_model.embedding_manager.string_to_param_dict["*"].data = kept
    assert after < 0.98 * before, (before, after)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_main(train_new.main, *flags(whole), "-t", *QUICK, "lightning.trainer.max_steps=14").status == 0
    assert run_main(train_new.main, *flags(parts), "-t", *QUICK, "lightning.trainer.max_steps=6").status == 0
    result = run_main(train_new.main, "-t", "--resume", only_run(parts), "lightning.trainer.max_steps=14")
    assert result.status == 0, result.err
    assert torch.equal(learned(only_run(whole)), learned(only_run(parts)))
    first = read_embeddings(only_run(parts) / "checkpoints" / "embeddings_gs-6.pt")["*"]
    assert not torch.equal(first, learned(only_run(parts)))


@pytest.mark.slow
def test_an_interrupted_run_is_saved_and_goes_on(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = [sys.executable, "train_new.py", *map(str, flags(parts)), "-t", *QUICK, "lightning.trainer.max_steps=400"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not glob.glob(f"{parts}/*/tensorboard/events*") and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    steps = torch.load(only_run(parts) / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < steps < 400
    last = f"lightning.trainer.max_steps={steps + 5}"
    assert run_main(train_new.main, "-t", "--resume", only_run(parts), last).status == 0
    assert run_main(train_new.main, *flags(whole), "-t", *QUICK, last).status == 0
    assert torch.equal(learned(only_run(whole)), learned(only_run(parts)))


def test_several_vectors_several_words_and_another_placeholder(tmp_path):
    result = run_main(train_new.main, *flags(tmp_path, init_word="pink bird", placeholder_string="&"), "-t", *QUICK,
                      "lightning.trainer.max_steps=2",
                      "model.params.personalization_config.params.num_vectors_per_token=3")
    assert result.status == 0, result.err
    assert "'&': 3 vectors from 'pink bird' = pink bird repeated" in result.err
    vectors = read_embeddings(only_run(tmp_path) / "checkpoints" / "embeddings.pt")
    assert {k: v.shape for k, v in vectors.items()} == {"&": (3, 192)}
    (project,) = only_run(tmp_path).glob("configs/*-project.yaml")
    assert OmegaConf.load(project).data.params.train.params.placeholder_token == "&"


def test_without_train_nothing_is_learned(tmp_path):
    result = run_main(train_new.main, *flags(tmp_path))
    assert result.status == 0 and "192 parameters to learn" in result.err
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("scale_lr, rate", [("true", "0.016"), ("false", "0.002")])
def test_learning_rate(tmp_path, scale_lr, rate):
    result = run_main(train_new.main, *flags(tmp_path, scale_lr=scale_lr), "data.params.batch_size=8",
                      "model.base_learning_rate=0.002")
    assert result.status == 0 and f"learning rate {rate}," in result.err


@pytest.mark.parametrize("changes, extra, words", [
    ({"base": "none.yaml"}, (), ["none.yaml", "no such"]),
    ({"base": None}, (), ["--base"]),
    ({"actual_resume": None}, (), ["--actual_resume"]),
    ({"actual_resume": "none.ckpt", "base": "models/ldm/emoji/config.yaml configs/emoji/finetune.yaml"}, (),
     ["none.ckpt"]),
    ({"actual_resume": "README.md", "base": "models/ldm/emoji/config.yaml configs/emoji/finetune.yaml"}, (),
     ["README.md", "not a checkpoint"]),
    ({"actual_resume": GOLDEN / "model.ckpt", "base": "models/ldm/emoji/config.yaml configs/emoji/finetune.yaml"}, (),
     ["not a checkpoint of this model"]),
    ({"data_root": None}, (), ["--data_root"]),
    ({"data_root": "dataset/none"}, (), ["dataset/none"]),
    ({"data_root": "configs/emoji"}, (), ["no pictures"]),
    ({"placeholder_string": "two words"}, (), ["two words", "one token"]),
    ({"init_word": "\u2603"}, (), ["init word"]),
    ({"gpus": "first"}, (), ["--gpus"]),
    ({"resume": "logs/none"}, (), ["--resume"]),
    ({"embedding_manager_ckpt": GOLDEN / "embeddings.pt"}, (), ["16 wide", "192"]),
    ({}, ("lightning.trainer.max_step=3",), ["lightning.trainer.max_steps"]),
    ({}, ("model.base_learning_rat=3",), ["model.base_learning_rate"]),
    ({}, ("data.params.train.params.reapeats=3",), ["data.params.train.params.repeats"]),
    ({}, ("--init_wrod", "cat"), ["--init_wrod"]),
    ({}, ("lightning.trainer.precision=7",), ["lightning.trainer"]),
])
def test_bad_input_is_one_line(tmp_path, changes, extra, words):
    arguments = [part for x in flags(tmp_path / "logs", **changes) for part in (
        str(x).split() if str(x).startswith("models/ldm/emoji/config.yaml ") else [x])]
    assert_one_line_error(run_main(train_new.main, *arguments, *extra), *words)
    assert not (tmp_path / "logs").exists(), "nothing half-written"


def test_an_error_in_a_process_of_its_own(tmp_path):
    result = run_script("train_new.py", *flags(tmp_path / "logs", data_root="dataset/none"), "-t")
    assert_one_line_error(result, "dataset/none")
    debug = run_script("train_new.py", *flags(tmp_path / "logs", data_root="dataset/none"), "-t", "--debug")
    assert debug.returncode != 0 and "Traceback" in debug.stderr


def test_bad_pictures_are_named_and_left_out_on_demand(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (80, 80), "red").save(data / "good.png")
    (data / "bad.jpg").write_bytes(b"no picture")
    assert_one_line_error(run_main(train_new.main, *flags(tmp_path / "logs", data_root=data)), "bad.jpg",
                          "--skip_bad_images")
    result = run_main(train_new.main, *flags(tmp_path / "logs", data_root=data), "--skip_bad_images")
    assert result.status == 0 and f"left out: {data / 'bad.jpg'}: not a readable picture" in result.err


def test_help_says_what_every_flag_is_for():
    result = run_script("train_new.py", "--help")
    assert result.returncode == 0
    for flag in ("--base", "--train", "--name", "--postfix", "--logdir", "--project", "--resume", "--actual_resume",
                 "--data_root", "--init_word", "--placeholder_string", "--embedding_manager_ckpt", "--gpus", "--seed",
                 "--scale_lr", "--datadir_in_name", "--no-test", "--debug"):
        assert flag in result.stdout
