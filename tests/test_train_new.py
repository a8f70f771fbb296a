"""Learning a word from the command line on the embedded model: runs, resumed runs, interrupted runs, bad input."""

import glob
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import train_new
import train_new_v1
import train_new_v2
from ldm.embedding_files import read_embeddings
from ldm.history import read_history
from tests.conftest import EMOJI, GOLDEN, ROOT, assert_one_line_error, run_main, run_script
from tests.runs import DATA, EXACT, QUICK, flags, learned, only_run


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
        "embeddings.pt", "embeddings_gs-2.pt", "embeddings_gs-4.pt", "embeddings_best.pt", "last.ckpt",
        "last-previous.ckpt"}
    assert "2 saved steps, judged by models/clip/emoji" in result.stderr and (folder / "ranking.png").is_file()
    assert "the word * moved" in result.stderr
    assert sum(p.stat().st_size for p in (folder / "checkpoints").iterdir()) < 100_000, "kilobytes, not gigabytes"
    for step in (0, 3, 4):
        for name in ("inputs", "reconstruction", "samples", "samples_scaled"):
            assert Image.open(folder / "images" / "train" / f"{name}_gs-{step:06}.png").size == (262, 132), "two"
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
    data = PersonalizedBase(ROOT / DATA, size=128, set="val")
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
    ({"placeholder_string": "[PAD]"}, (), ["[PAD]", "own"]),
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
                 "--seeds", "--lr_schedule", "--preview_prompt", "--scale_lr", "--datadir_in_name", "--no-test",
                 "--debug"):
        assert flag in result.stdout


VALIDATED = ("data.params.validation.target=ldm.data.personalized.PersonalizedBase",
             "data.params.validation.params.size=64", "data.params.validation.params.repeats=1",
             "data.params.validation.params.set=val")


@pytest.mark.slow
@pytest.mark.parametrize("base, variant, more", [
    ("finetune", None, ()), ("finetune", None, ("lightning.trainer.accumulate_grad_batches=3",)),
    ("finetune", None, ("data.params.num_workers=2",)), ("finetune", None, VALIDATED), ("finetune-v1", "v1", ()),
    ("finetune-v2", "v2", ("data.params.train.params.templates=['a photo of a {}','{} 사진']",))],
    ids=["base", "accumulation", "workers", "validation", "v1", "v2"])
def test_going_on_from_every_step_is_exact(tmp_path, base, variant, more):
    """Ten pictures are an epoch of ten steps, or of three with accumulation: stops within it, at its end, after it."""
    last = 7 if "accumulate" in " ".join(more) else 12
    command = [*flags(tmp_path / "runs", base=f"configs/emoji/{base}.yaml"), "-t", *EXACT, *more]

    def run(*arguments):
        result = run_main(train_new.main if variant is None else {"v1": train_new_v1, "v2": train_new_v2}[variant].main,
                          *arguments)
        assert result.status == 0, result.err
        return result

    run(*command, f"lightning.trainer.max_steps={last}")
    whole = only_run(tmp_path / "runs")
    for stop in (1, 2, 3, 4, 6) if last == 7 else (1, 5, 9, 10, 11):
        shutil.rmtree(tmp_path / "parts", ignore_errors=True)
        run(*[tmp_path / "parts" if a == tmp_path / "runs" else a for a in command],
            f"lightning.trainer.max_steps={stop}")
        part = only_run(tmp_path / "parts")
        result = run("-t", "--resume", part, f"lightning.trainer.max_steps={last}")
        assert f"going on at step {stop} of {part}" in result.err
        assert torch.equal(learned(part), learned(whole)), stop
        losses = [[(line["step"], line.get("loss"), line.get("quartiles")) for line in read_history(folder)]
                  for folder in (part, whole)]
        assert losses[0] == losses[1] and len(losses[0]) == last + 1
        for step in range(stop, last + 1):
            name = f"checkpoints/embeddings_gs-{step}.pt"
            assert torch.equal(read_embeddings(part / name)["*"], read_embeddings(whole / name)["*"]), (stop, step)


@pytest.mark.parametrize("arguments, words", [
    (("--placeholder_string", "&"), ["learns '*'", "asks for '&'", "new run"]),
    (("model.params.personalization_config.params.num_vectors_per_token=2",), ["1 vector of 192", "2 vectors"]),
    (("--variant", "v1"), ["asks for '*' (1 vector of 192) and an adapter"]),
    (("--init_word", "cat"), ["started from", "bird", "cat"]),
    (("--embedding_manager_ckpt", "logs/example_green_apple/checkpoints/embeddings.pt"), ["started from", "new run"]),
    (("--name", "other"), ["--name", "--resume"]), (("--logdir", "elsewhere"), ["--logdir", "--resume"])])
def test_what_cannot_count_at_resume_is_refused_before_anything_is_written(finished, arguments, words):
    def files():
        return {p: p.stat().st_mtime_ns for p in finished.rglob("*")}

    before = files()
    assert_one_line_error(run_main(train_new.main, "-t", "--resume", finished, *arguments), *words)
    assert files() == before


@pytest.mark.slow
def test_what_counts_at_resume_counts(finished, tmp_path):
    steps = "lightning.trainer.max_steps=3"
    learned_by = {}
    for name, arguments in {"same": (), "rate": ("model.base_learning_rate=0.05",), "seed": ("--seed", 7),
                            "scale": ("--scale_lr", "false")}.items():
        shutil.copytree(finished, tmp_path / name)
        result = run_main(train_new.main, "-t", "--resume", tmp_path / name, steps, *arguments)
        assert result.status == 0, result.err
        learned_by[name] = tuple(learned(tmp_path / name).flatten().tolist())
    assert len(set(learned_by.values())) == 4 - (1 if learned_by["scale"] == learned_by["same"] else 0)
    assert learned_by["rate"] != learned_by["same"] != learned_by["seed"]


@pytest.mark.slow
def test_a_truncated_state_is_skipped_with_a_word(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    last = tmp_path / "run/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:900])
    result = run_main(train_new.main, "-t", "--resume", tmp_path / "run", "lightning.trainer.max_steps=3")
    assert result.status == 0 and "cut short" in result.err and "going on at step 1 of" in result.err, result.err


@pytest.mark.slow
def test_resuming_works_from_another_folder(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    result = run_main(train_new.main, "-t", "--resume", "run", "lightning.trainer.max_steps=3")
    assert result.status == 0, result.err
    assert (tmp_path / "run/checkpoints/embeddings_gs-3.pt").is_file()


@pytest.mark.parametrize("rate, cause", [("100", "times as long as the longest token embedding"),
                                         ("1", "times as long as the longest token embedding")])
def test_a_word_that_is_lost_ends_the_run_and_the_last_good_one_stays(tmp_path, rate, cause):
    result = run_main(train_new.main, *flags(tmp_path), "-t", *QUICK, "lightning.trainer.max_steps=60",
                      f"model.base_learning_rate={rate}")
    assert_one_line_error(result, cause, "at step", "base_learning_rate")
    assert learned(only_run(tmp_path)).isfinite().all() and learned(only_run(tmp_path)).norm() < 30


@pytest.mark.parametrize("flag, value", [
    ("name", "../out"), ("name", "a/b"), ("postfix", "/x"), ("postfix", "\\x"), ("project", ".."), ("project", "/tmp"),
    ("name", "n" * 300), ("name", "글" * 90)])
def test_names_stay_in_the_log_folder(tmp_path, flag, value):
    assert_one_line_error(run_main(train_new.main, *flags(tmp_path / "logs", **{flag: value}), "-t"), "--name"
                          if len(value) > 80 else f"--{flag}")
    assert not list(tmp_path.iterdir())


def test_the_value_of_a_flag_is_no_override(tmp_path):
    shutil.copytree(ROOT / DATA, tmp_path / "eq.x=1")
    result = run_main(train_new.main, *flags(tmp_path / "logs", data_root=tmp_path / "eq.x=1"))
    assert result.status == 0 and "nothing was learned" in result.err.strip().splitlines()[-1], result.err
