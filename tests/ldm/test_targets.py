"""Which classes a config may name, what a config of a stranger cannot do, and what transformers is kept from."""

import json
import os
import re
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import load
import txt2img
from ldm import cli, configs, targets
from ldm.errors import UserError
from ldm.modules.encoders.modules import BERTTokenizer
from ldm.pretrained import from_pretrained
from tests.conftest import EMOJI, ROOT, assert_one_line_error, run_main

EVIL = "import pathlib\npathlib.Path({canary!r}).touch()\nimport torch\nclass Thing(torch.nn.Module):\n    pass\n" \
       "def thing(**kwargs):\n    return 5\nclass Plain:\n    pass\n"


@pytest.fixture(autouse=True)
def trust_nobody(monkeypatch):
    monkeypatch.setattr(targets, "REGISTERED", set(targets.REGISTERED))
    targets.trust_targets(False)
    yield
    targets.trust_targets(False)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that a hostile module makes when it is imported; the module lies on the path, as in the folder that a
    command is called in."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "evil_module.py").write_text(EVIL.format(canary=str(tmp_path / "canary")))
    monkeypatch.syspath_prepend(folder)
    yield tmp_path / "canary"
    for name in [n for n in sys.modules if n.startswith("evil_module")]:
        del sys.modules[name]


@pytest.mark.parametrize("target", [
    "os.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "evil_module.Thing", "evil_module.thing",
    "ldm.serialization.write_bytes", "ldm.files.write_bytes", "ldm.util.instantiate_from_config",
    "ldm.targets.trust_targets", "ldm.util.Path", "ldm.targets.importlib.import_module", "ldm.cli.os.system",
    "ldm.data.personalized.Dataset", "ldm.errors.UserError", "ldm.cli.CommandParser", "ldm.configs.yaml.unsafe_load",
    "torch.nn.init.zeros_", "torch.nn.Embedding.from_pretrained", "torch.nn.Parameter", "torch.load",
    "torch.utils.data.Dataset", "torch.hub.load", "train_new.main", "load.load_model", "logs.evil.Thing",
    "models.x.Thing", "pytorch_lightning.callbacks.ModelCheckpoint", "..os.system", "os", "", ".", "ldm.", ".ldm",
    "ldm..util.Path", "ldm/util.Path", "ldm.no_such_module.Thing", "a" * 10_000, None, 5, ["os.system"], {}])
def test_what_is_no_class_of_this_project_is_neither_imported_nor_called(canary, target):
    with pytest.raises(UserError, match="cannot be loaded") as refused:
        targets.get_obj_from_str(target)
    assert len(str(refused.value).splitlines()) == 1
    assert not canary.exists()
    with pytest.raises(UserError, match="cannot be loaded"):
        load.instantiate_from_config({"target": target, "params": {"command": f"touch {canary}"}})
    assert not canary.exists()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(sys.stdlib_module_names - {"antigravity", "this"})), st.text(max_size=12))
def test_no_name_of_pythons_own_is_a_target(module, name):
    before = set(sys.modules)
    for target in (f"{module}.{name}", f"ldm.util.{module}.{name}", f"{module}.system", name):
        with pytest.raises(UserError):
            targets.get_obj_from_str(target)
    assert {m for m in set(sys.modules) - before if not m.startswith("ldm")} == set()


def test_the_error_names_the_target_and_the_flag():
    with pytest.raises(UserError, match="'os.system'.*--trust_targets"):
        targets.get_obj_from_str("os.system")


def test_others_are_registered_or_trusted(canary):
    targets.REGISTERED.add("evil_module.Thing")
    assert targets.get_obj_from_str("evil_module.Thing").__name__ == "Thing" and canary.exists()
    for target in ("evil_module.thing", "evil_module.Plain"):
        with pytest.raises(UserError, match="--trust_targets"):
            targets.get_obj_from_str(target)
    targets.REGISTERED.add("evil_module.Plain")
    with pytest.raises(UserError, match="is no Callback, Dataset, LightningDataModule, Module"):
        targets.get_obj_from_str("evil_module.Plain")
    targets.trust_targets()
    assert targets.get_obj_from_str("evil_module.Plain").__name__ == "Plain"
    with pytest.raises(UserError, match="is a function"):
        targets.get_obj_from_str("evil_module.thing")


def test_a_folder_of_our_name_elsewhere_is_not_imported(canary, monkeypatch):
    monkeypatch.setattr(targets, "PACKAGES", {*targets.PACKAGES, "evil_module"})
    with pytest.raises(UserError, match="another 'evil_module' than this project's"):
        targets.get_obj_from_str("evil_module.Thing")
    assert not canary.exists()


def test_trust_ends_with_the_command(monkeypatch):
    parser = cli.CommandParser()
    load.add_model_flags(parser, "--trust_targets")
    seen = []

    def main():
        parser.parse_args(["--trust_targets"])
        seen.append(targets.targets_are_trusted())
    cli.run_command(main)
    cli.run_command(lambda: seen.append(targets.targets_are_trusted()))
    assert seen == [True, False]


def test_targets_of_parameters_that_are_left_out_are_not_looked_at(canary):
    """As in Stable Diffusion's published v1-inference.yaml, whose scheduler nobody has."""
    config = load.load_config(EMOJI.parent / "config.yaml")
    for target in ("ldm.lr_scheduler.LambdaLinearScheduler", "evil_module.Thing", "os.system"):
        unused = {"target": target, "params": {"x": {"target": target}}}
        config.model.params.scheduler_config = unused
        config.model.params.first_stage_config.params.lossconfig = unused
        keys, _ = cli.valid_keys(OmegaConf.to_container(config))
        assert "model.params.scheduler_config" in keys and "model.params.timesteps" in keys
        load.check_config(config, ["model"])
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            load.meta_model(config, None)
        assert [w for w in ("scheduler_config", "lossconfig") if not any(w in str(m.message) for m in warned)] == []
    assert not canary.exists()


@pytest.mark.parametrize("place", [
    "model", "model.params.unet_config", "model.params.first_stage_config", "model.params.cond_stage_config",
    "model.params.personalization_config"])
def test_a_config_beside_a_strangers_checkpoint_runs_nothing(tmp_path, canary, place):
    config = load.load_config(EMOJI.parent / "config.yaml")
    OmegaConf.update(config, f"{place}.target", "evil_module.Thing")
    (tmp_path / "model.ckpt").symlink_to(EMOJI)
    OmegaConf.save(config, tmp_path / "config.yaml")
    result = run_main(txt2img.main, "--ckpt_path", tmp_path / "model.ckpt", "--outdir", tmp_path / "out")
    assert_one_line_error(result, place, "'evil_module.Thing'", "--trust_targets", "config.yaml")
    assert result.err.startswith("the model's config is ") or "config.yaml: " in result.err
    assert not canary.exists() and not (tmp_path / "out").exists()
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("place, target, base", [
    ("model", "torch.nn.Identity", "LatentDiffusion"), ("model.params.unet_config", "torch.nn.Identity", "UNetModel"),
    ("model.params.cond_stage_config", "ldm.models.autoencoder.AutoencoderKL", "TextEncoder")])
def test_a_class_must_be_of_the_kind_that_is_needed(place, target, base):
    config = load.load_config(EMOJI.parent / "config.yaml")
    OmegaConf.update(config, f"{place}.target", target)
    with pytest.raises(UserError, match=f"{place}.target={target}: is no {base}"):
        load.check_config(config)


# YAML ----------------------------------------------------------------------------------------------------------------

def lines(*texts: str) -> str:
    return "".join(f"{text}\n" for text in texts)


BOMBS = {
    "aliases": lines("a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))),
    "merges": lines("a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))),
    "references": lines("x0: {a: 1}", *(f"x{n}: {{a: '${{x{n - 1}}}', b: '${{x{n - 1}}}'}}" for n in range(1, 40))),
    "depth": "a: " + "[" * 100_000, "closed": "[" * 5_000 + "]" * 5_000, "size": "a: " + "x" * 10_000_000,
    "digits": "a: " + "9" * 100_000, "keys": lines(*(f"k{n}: 1" for n in range(30_000))), "itself": "&a [*a]",
    "long texts": lines("a: &a " + "x" * 100_000, *(f"k{n}: *a" for n in range(5_000))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_in_one_line(tmp_path, name):
    (tmp_path / "config.yaml").write_text(BOMBS[name])
    with pytest.raises(UserError) as refused:
        load.load_config(tmp_path / "config.yaml")
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 1000


@pytest.mark.parametrize("text", [
    "a: ${oc.env:HOME}", "a: '${oc.decode:1}'", "a: ${evil:x}", "a: x${b}", "a: ${b}${b}", "a: ${b.${c}}", "a: ${.b}",
    "a: '${'", "a: ${}", "a: '\\${b}'", "1: 2", "null: 2", "true: 1", "? [a]\n: 1", "a: 1\na: 2", "a:\n\tb: 1",
    "a: !!python/object/apply:os.system [x]", "a: !!python/name:os.system ''", "a: !x y", "a: 1\n---\nb: 1",
    'a: "\\ud800"', "- 1", "text", "a: [1", "a: \x00", "a: !!python/object/apply:pathlib.Path [x]"])
def test_what_is_more_than_data_is_no_config(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="config.yaml: ") as refused:
        load.load_config(tmp_path / "config.yaml")
    assert len(str(refused.value).splitlines()) == 1


def test_a_resolver_that_somebody_registered_is_not_called(tmp_path):
    called = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has another name in later versions
        OmegaConf.register_new_resolver("canary", lambda: called.append(1), replace=True)
    (tmp_path / "config.yaml").write_text("a: ${canary:}")
    with pytest.raises(UserError):
        load.load_config(tmp_path / "config.yaml")
    assert not called


def test_references_to_other_keys_are_followed(tmp_path):
    (tmp_path / "config.yaml").write_text("a: {b: 3}\nc: ${a.b}\nd: [{e: '${a}'}]\nf: ${c}")
    config = load.load_config(tmp_path / "config.yaml")
    assert configs.resolved(config) == {"a": {"b": 3}, "c": 3, "d": [{"e": {"b": 3}}], "f": 3}
    for text, match in (("a: ${b}\nb: ${a}", "back to itself"), ("a: ${b.c}", "no key 'b.c'"), ("a: ???",
    "to be given")):
        (tmp_path / "other.yaml").write_text(text)
        with pytest.raises(UserError, match=match):
            configs.resolved(load.load_config(tmp_path / "other.yaml"))


@pytest.mark.parametrize("text, value", [
    ("1", 1), ("-3", -3), ("1e-4", 1e-4), ("1.5", 1.5), (".5", 0.5), ("1_000", 1000), ("0x10", 16), ("1:40", "1:40"),
    ("010", "010"), ("1:40.5", "1:40.5"), ("2026-01-01", "2026-01-01"), ("null", None), ("~", None), ("", None),
    ("true", True), ("'1'", "1"), ("=", "="), ("１２", "１２"), ("{<<: {a: 1}, b: 2}", {"a": 1, "b": 2}),
    ("5.0e-03", 5e-3), ("+1", 1), ("0", 0)])
def test_numbers_are_what_people_mean(text, value):
    result = configs.parse_yaml(text)
    assert result == value and type(result) is type(value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=40), st.text(alphabet="&*a[]{}:,- \n'\"!<?|>#%@`${}.0123456789e\t", max_size=40)))
def test_any_text_is_data_or_refused_in_one_line(text):
    try:
        value = configs.parse_yaml(text)
    except UserError as error:
        assert len(str(error).splitlines()) <= 1
    else:
        json.dumps(value, default=lambda x: str(x) if isinstance(x, bytes | set) or hasattr(x, "isoformat") else 1 / 0)


# transformers --------------------------------------------------------------------------------------------------------

@pytest.fixture
def no_questions(monkeypatch):
    def ask(*args):
        raise AssertionError("asks on standard input")
    monkeypatch.setattr("builtins.input", ask)


@pytest.mark.usefixtures("no_questions")
@pytest.mark.parametrize("cls", ["AutoModel", "AutoTokenizer", "CLIPModel", "CLIPImageProcessor"])
@pytest.mark.parametrize("model_type", ["bert", "evil"])
def test_code_beside_a_tokenizer_or_a_model_does_not_run(tmp_path, capsys, cls, model_type):
    import transformers

    canary = tmp_path / "canary"
    (tmp_path / "evil.py").write_text(EVIL.format(canary=str(canary)))
    code = {f"Auto{kind}": "evil.Thing" for kind in ("Config", "Model", "ImageProcessor", "Processor")}
    code["AutoTokenizer"] = ["evil.Thing", None]
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps({
            "model_type": model_type, "auto_map": code, "architectures": ["Evil"], "tokenizer_class": "Evil",
            "image_processor_type": "Evil", "custom_pipelines": {"x": {"impl": "evil.Thing"}}}))
    with pytest.raises(UserError, match="CLIP") as refused:
        print(from_pretrained(getattr(transformers, cls), str(tmp_path), "CLIP"))
        raise UserError("CLIP")  # it was read by transformers' own class
    assert len(str(refused.value).splitlines()) == 1
    assert not canary.exists()


@pytest.mark.usefixtures("no_questions")
def test_a_tokenizer_with_code_beside_it_is_read_without_it(tmp_path):
    canary = tmp_path / "canary"
    for file in (EMOJI.parent / "tokenizer").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(
        settings | {"auto_map": {"AutoTokenizer": ["evil.Thing", "evil.Thing"]}}))
    (tmp_path / "evil.py").write_text(EVIL.format(canary=str(canary)))
    tokenizer = BERTTokenizer(str(tmp_path), 32)
    assert tokenizer.pieces(tokenizer.ids("red apple")) == ["red", "apple"] and not canary.exists()


def test_a_pickle_beside_a_model_is_not_unpickled(tmp_path):
    """Weights in a .bin are read as tensors alone."""
    import os
    import shutil

    from transformers import AutoModel

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    source = ROOT / "models/multilingual/emoji"
    shutil.copy(source / "config.json", tmp_path)
    torch.save({"embeddings.weight": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="multilingual transformer"):
        from_pretrained(AutoModel, str(tmp_path), "multilingual transformer", weights_only=True)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", ["[]", "5", "{", "{}", '{"model_type": 5}', "", "\0"])
def test_broken_folders_are_one_line(tmp_path, content):
    from transformers import AutoModel, BertTokenizer

    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        (tmp_path / name).write_text(content)
    for cls in (AutoModel, BertTokenizer):
        with pytest.raises(UserError, match="thing") as refused:
            from_pretrained(cls, str(tmp_path), "thing")
            raise UserError("thing")
        assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["none/none", "configs", "/", "{}"])
def test_a_tokenizer_without_a_vocabulary_is_none(tmp_path, name):
    with pytest.raises(UserError, match="tokenizer .* is neither a folder with one"):
        BERTTokenizer(name.format(tmp_path), 77)


def test_names_are_looked_for_here_before_the_hub_is_asked(monkeypatch):
    asked = []

    class Hub:
        @staticmethod
        def from_pretrained(name, local_files_only=False, **options):
            asked.append((name, local_files_only, options["trust_remote_code"]))
            if local_files_only:
                raise OSError("not here")
            return "it"

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, name, timeout: asked.append((name, timeout)))
    assert from_pretrained(Hub, "someone/something", "thing") == "it"
    assert asked == [("someone/something", True, False), ("someone/something", 10), ("someone/something", False, False)]


def test_a_hub_that_cannot_be_reached_is_asked_once():
    """transformers tries for minutes."""
    code = ("from ldm.pretrained import from_pretrained; from transformers import BertTokenizer\n"
            "import time; started = time.monotonic()\n"
            "try: from_pretrained(BertTokenizer, 'none/none', 'tokenizer')\n"
            "except Exception as error: print(error, '|', time.monotonic() - started)")
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100,
                           env=os.environ | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"})
    said, _, seconds = ended.stdout.partition("|")
    assert "tokenizer 'none/none' is neither a folder" in said and float(seconds) < 10, ended


def test_nothing_else_reads_pretrained_things():
    """Every reading of a folder that a config or a flag names goes through ldm.pretrained."""
    found = {str(p.relative_to(ROOT)) for folder in ("ldm", "improvement", "evaluation", "check") for p in
             (ROOT / folder).rglob("*.py") if re.search(r"\.from_pretrained\(|trust_remote_code", p.read_text())}
    assert found == {"ldm/pretrained.py"}
