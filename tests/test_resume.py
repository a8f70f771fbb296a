"""One folder, one run: what is asked when a run goes on, runs beside each other, several devices, Ctrl-C."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import train_new
from ldm.embedding_files import read_embeddings
from tests.conftest import EMOJI, ROOT, assert_one_line_error, run_main, run_script
from tests.runs import EXACT, flags, learned, only_run
from training.flags import get_parser, split_overrides


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def go_on(run, *arguments, steps=3):
    result = run_main(train_new.main, "-t", "--resume", run, f"lightning.trainer.max_steps={steps}", *arguments)
    assert result.status == 0, result.err
    return result


def stored(run):
    return OmegaConf.load(sorted(run.glob("configs/*-project.yaml"))[-1])


def test_a_new_rate_is_the_optimizers(run):
    result = go_on(run, "model.base_learning_rate=0.05", "--scale_lr", "false")
    assert "learning rate 0.05," in result.err
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert [g["lr"] for g in state["optimizer_states"][0]["param_groups"]] == [0.05]
    assert stored(run).run.scale_lr is False
    assert "learning rate 0.05," in go_on(run, steps=4).err, "and it stays"


def test_a_new_seed_is_the_runs_and_its_data_sets(run):
    go_on(run, "--seed", "7")
    assert stored(run).run.seed == stored(run).data.params.train.params.seed == 7
    go_on(run, steps=4)
    assert stored(run).run.seed == 7


def test_a_config_on_top_changes_what_it_says_and_not_what_is_learned(run, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("model: {params: {personalization_config: {params: {initializer_words: [cat], "
                    "num_vectors_per_token: 2}}}}\nlightning: {trainer: {log_every_n_steps: 1}}\n")
    go_on(run, "--base", more)
    kept = OmegaConf.load(sorted(run.glob("configs/*-lightning.yaml"))[-1])
    assert kept.lightning.trainer.log_every_n_steps == 1
    assert list(stored(run).model.params.personalization_config.params.initializer_words) == ["bird"]


def test_a_run_that_is_finished_says_so_and_its_words_are_there(run):
    (run / "checkpoints/embeddings.pt").unlink()
    (run / "checkpoints/.embeddings.pt.abcd1234").write_bytes(b"half")
    before = learned_of(run, "embeddings_gs-2.pt")
    result = run_main(train_new.main, "-t", "--resume", run)
    assert result.status == 0 and "has learned for all its steps" in result.err
    assert torch.equal(learned(run), before) and not list(run.rglob(".*"))


def learned_of(run, name):
    return read_embeddings(run / "checkpoints" / name)["*"]


def test_words_that_are_newer_than_the_state_are_its_again(run):
    shutil.copy(run / "checkpoints/last-previous.ckpt", run / "checkpoints/last.ckpt")  # killed just before it
    result = run_main(train_new.main, "-t", "--resume", run, "lightning.trainer.max_steps=1")
    assert result.status == 0 and torch.equal(learned(run), learned_of(run, "embeddings_gs-1.pt"))


@pytest.mark.parametrize("spoil", [lambda s: s["optimizer_states"].clear(),
                                   lambda s: s["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(3)),
                                   lambda s: s["optimizer_states"][0].pop("param_groups"),
                                   lambda s: s["state_dict"].update(a="text")])
def test_a_state_of_something_else_is_one_line_and_nothing_is_written(run, spoil):
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    spoil(state)
    for name in ("last.ckpt", "last-previous.ckpt"):
        torch.save(state, run / "checkpoints" / name)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    result = run_main(train_new.main, "-t", "--resume", run, "lightning.trainer.max_steps=3")
    if result.status:
        assert_one_line_error(result, "--resume")
        assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before
    else:  # what is no tensor was passed over
        assert "a" in state["state_dict"]


def test_a_run_learns_with_layers_or_without(run):
    result = run_main(train_new.main, "-t", "--resume", run, "--variant", "v1", "lightning.trainer.max_steps=3")
    assert_one_line_error(result, "an adapter", "new run")
    go_on(run)


@pytest.mark.parametrize("flag", ["--name", "--postfix", "--project", "--logdir", "--datadir_in_name"])
def test_names_mean_nothing_to_a_run_that_has_its_folder(run, flag):
    assert_one_line_error(run_main(train_new.main, "-t", "--resume", run, flag, "true"), flag, "--resume")


def test_relative_paths_lead_where_they_led(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "dataset/flamingo", tmp_path / "a/pictures")
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    result = run_main(train_new.main, *flags("logs", base=ROOT / "configs/emoji/finetune.yaml", data_root="pictures"),
                      "-t", *EXACT, "lightning.trainer.max_steps=1")
    assert result.status == 0, result.err
    monkeypatch.chdir(tmp_path / "b")
    run = only_run(tmp_path / "a/logs")
    go_on(run, steps=2)
    assert not list((tmp_path / "b").iterdir())
    assert stored(run).data.params.train.params.data_root == str(tmp_path / "a/pictures")
    monkeypatch.chdir(tmp_path)
    go_on(run, steps=3)


@pytest.mark.parametrize("arguments, is_override", [
    (["--data_root", "eq.x=1"], False), (["--data_r", "eq.x=1"], False), (["-n", "a.b=c"], False),
    (["-t", "eq.x=1"], True), (["--base", "a.yaml", "eq.x=1"], True), (["--data_root=x", "eq.x=1"], True),
    (["--skip_bad_images", "eq.x=1"], True), (["eq.x=1"], True), (["--name", "n", "eq.x=1"], True)])
def test_what_follows_a_flag_with_a_value_is_the_value(arguments, is_override):
    rest, overrides = split_overrides(get_parser(), arguments)
    assert (arguments[-1] in overrides) == is_override and (arguments[-1] in rest) != is_override


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["--name", "--data_root", "-l", "-t", "--base", "a.b=1", "x", "c.d.e=[1]", "--seed"])))
def test_every_argument_goes_one_way_in_its_order(arguments):
    rest, overrides = split_overrides(get_parser(), arguments)
    assert sorted(rest + overrides) == sorted(arguments) and all("." in o for o in overrides)
    for part in (rest, overrides):
        left = iter(arguments)
        assert all(argument in left for argument in part)


@pytest.mark.slow
def test_runs_started_in_the_same_second_have_folders_of_their_own(tmp_path):
    last = "lightning.trainer.max_steps=1"
    command = [sys.executable, "train_new.py", *map(str, flags(tmp_path)), "-t", *EXACT, last]
    while time.time() % 1 > 0.1:
        time.sleep(0.01)
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [p.communicate(timeout=120)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], errors
    assert len(list(tmp_path.iterdir())) == 3
    assert all((folder / "checkpoints/last.ckpt").is_file() for folder in tmp_path.iterdir())


TWO = ("lightning.trainer.accelerator=cpu", "lightning.trainer.devices=2", "lightning.trainer.strategy=ddp")
PER_IMAGE = ("data.params.train.params.per_image_tokens=true",
             "model.params.personalization_config.params.per_image_tokens=true")


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), PER_IMAGE], ids=["one word", "a word a picture"])
def test_two_devices_are_an_accumulation_of_two(tmp_path, more):
    for name, how in (("devices", TWO), ("accumulation", ("lightning.trainer.accumulate_grad_batches=2",))):
        result = run_script("train_new.py", *flags(tmp_path / name), "-t", *EXACT, *more, *how,
                            "lightning.trainer.max_steps=3", "lightning.trainer.enable_progress_bar=false")
        assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
        assert result.stderr.count("starting from") == 1
    files = [only_run(tmp_path / name) / "checkpoints/embeddings.pt" for name in ("devices", "accumulation")]
    words, others = map(read_embeddings, files)
    assert words.keys() == others.keys() and all(torch.equal(words[p], others[p]) for p in words)


@pytest.mark.slow
def test_ctrl_c_reaches_all_processes_and_the_step_is_ended(tmp_path):
    command = [sys.executable, "train_new.py", *map(str, flags(tmp_path)), "-t", *EXACT, "data.params.num_workers=2",
               "lightning.trainer.max_steps=4000", "lightning.trainer.accumulate_grad_batches=8"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not list(tmp_path.glob("*/tensorboard/events*")):
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and "stopped at step" in err, err


@pytest.mark.slow
@pytest.mark.parametrize("script", [("train_new.py", "--base", "configs/emoji/finetune.yaml", "--actual_resume", EMOJI,
                                     "--data_root", "dataset/flamingo"),
                                    ("txt2img.py", "--prompt", "a cat", "--outdir", "{}")])
def test_ctrl_c_while_a_command_starts_is_one_word(tmp_path, script):
    rng = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, *(str(a).format(tmp_path / "out") for a in script)], cwd=ROOT,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(rng.uniform(0.3, 1.5))
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 130 and "Traceback" not in said and len(said.strip().splitlines()) <= 1, said
