"""Configs and run folders of strangers: python -m benchmarks.faults configs [--count N] [--seed S]

Each names something that would run code, write files, tell secrets or take all time or memory: beside a checkpoint, as
--base, in a run folder. Nothing of that happens: it is refused in one line, or left out and the rest works.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.faults.runs import DATA, NO_GRIDS, QUICK, ROOT, Ended, command, only_run, train, warm_up
from load import EMBEDDED_MODEL, load_config

COUNT = 250
SECRET = "nobody-may-see-this"
EVENTS = b"does what no config may: "
# What a hostile class or function does is to touch this file, in the folder that the command runs in.
CANARY = "canary"
EVIL = f"""
import pathlib
pathlib.Path({CANARY!r}).touch()
import torch
class Thing(torch.nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
def thing(**kwargs):
    return Thing()
"""
TARGETS: dict[str, dict[str, Any]] = {
    "os.system": {"command": f"touch {CANARY}"}, "posix.system": {"command": f"touch {CANARY}"},
    "os.popen": {"cmd": f"touch {CANARY}"}, "os.mkdir": {"path": CANARY}, "os.makedirs": {"name": CANARY},
    "os.execvp": {"file": "touch", "args": ["touch", CANARY]}, "os.kill": {"pid": 0, "sig": 9}, "os.abort": {},
    "os._exit": {"status": 0}, "sys.exit": {}, "subprocess.Popen": {"args": ["touch", CANARY]},
    "subprocess.run": {"args": ["touch", CANARY]}, "subprocess.check_output": {"args": ["touch", CANARY]},
    "subprocess.getoutput": {"cmd": f"touch {CANARY}"}, "builtins.eval": {"source": f"open('{CANARY}', 'w')"},
    "builtins.exec": {"source": f"open('{CANARY}', 'w')"}, "builtins.open": {"file": CANARY, "mode": "w"},
    "builtins.__import__": {"name": "evil"}, "builtins.input": {}, "io.open": {"file": CANARY, "mode": "w"},
    "runpy.run_path": {"path_name": "evil.py"}, "importlib.import_module": {"name": "evil"}, "evil.Thing": {},
    "evil.thing": {}, "evil": {}, "evil_package.evil.Thing": {}, "..evil.Thing": {}, "./evil.Thing": {},
    "pathlib.Path.touch": {"self": CANARY}, "shutil.rmtree": {"path": "victim"}, "os.remove": {"path": "victim/file"},
    "pickle.loads": {"data": "c"}, "torch.load": {"f": "evil.pt", "weights_only": False},
    "torch.hub.load": {"repo_or_dir": ".", "model": "evil", "source": "local"},
    "torch.utils.cpp_extension.load": {"name": "evil", "sources": ["evil.cpp"]},
    "torch.utils.data.Dataset": {}, "torch.utils.tensorboard.SummaryWriter": {"log_dir": CANARY},
    "torch.nn.utils.clip_grad_norm_": {}, "torch.nn.init.zeros_": {}, "torch.nn.Module.load_state_dict": {},
    "torch.nn.modules.module.os.system": {"command": f"touch {CANARY}"}, "torch.nn.Embedding.from_pretrained": {},
    "ldm.files.write_bytes": {"path": CANARY, "data": "x"}, "ldm.serialization.write_bytes": {"path": CANARY,
    "data": "x"},
    "ldm.serialization.write_tensors": {"path": CANARY, "content": {}}, "ldm.util.Path": {},
    "ldm.util.instantiate_from_config": {"config": {"target": "os.system", "params": {"command": f"touch {CANARY}"}}},
    "ldm.targets.trust_targets": {}, "ldm.targets.importlib.import_module": {"name": "evil"},
    "ldm.targets.REGISTERED": {}, "ldm.cli.run_command": {}, "ldm.cli.os.system": {"command": f"touch {CANARY}"},
    "ldm.cli.CommandParser": {}, "ldm.data.personalized.Dataset": {}, "ldm.data.personalized.Path": {},
    "ldm.errors.UserError": {}, "load.load_model_from_config": {}, "load.trust_targets": {}, "train_new.main": {},
    "txt2img.main": {}, "setup.SetupCallback": {"logdir": CANARY, "now": "now", "config": {}, "lightning_config": {}},
    "main.SetupCallback": {"logdir": CANARY, "now": "now", "config": {}, "lightning_config": {}},
    "setup.os.system": {"command": f"touch {CANARY}"}, "make_log_new.Path": {}, "logs.evil.Thing": {},
    "models.evil.Thing": {}, "tempfile.mkdtemp": {"dir": "."}, "logging.FileHandler": {"filename": CANARY},
    "pytorch_lightning.callbacks.ModelCheckpoint": {"dirpath": CANARY}, "pytorch_lightning.Callback": {},
    "pytorch_lightning.callbacks.OnExceptionCheckpoint": {"dirpath": CANARY},
    "pytorch_lightning.callbacks.LambdaCallback": {"on_fit_start": "evil.thing"},
    "pytorch_lightning.loggers.CSVLogger": {"save_dir": CANARY}, "numpy.memmap": {"filename": CANARY, "shape": [1]},
    "numpy.load": {"file": "evil.npy", "allow_pickle": True}, "PIL.Image.open": {"fp": "victim/file"},
    "yaml.unsafe_load": {"stream": "!!python/object/apply:os.system [touch canary]"}, "code.interact": {},
    "webbrowser.open": {"url": "http://127.0.0.1:9/"}, "ctypes.CDLL": {"name": "libc.so.6"},
    "socket.create_connection": {"address": ["127.0.0.1", 9]}, "urllib.request.urlopen": {"url": "http://127.0.0.1:9/"},
    "transformers.AutoModel.from_pretrained": {"pretrained_model_name_or_path": "evil", "trust_remote_code": True},
    "transformers.pipeline": {"model": "evil", "trust_remote_code": True}, "antigravity.x": {}, "this.s": {},
    "improvement.v2.train_aligner.main": {}, "evaluation.evaluate.main": {}, "": {}, ".": {}, "a" * 100_000: {},
}
MODEL_PLACES = ("model", "model.params.unet_config", "model.params.first_stage_config",
                "model.params.cond_stage_config", "model.params.personalization_config")
TRAINING_PLACES = ("data", "data.params.train", "data.params.validation", "data.params.test",
                   "lightning.callbacks.image_logger", "lightning.callbacks.other")
# Under parameters that nothing takes: left out, with a warning, and the command goes well.
UNUSED_PLACES = ("model.params.scheduler_config", "model.params.first_stage_config.params.lossconfig",
                 "model.params.cond_stage_config.params.other", "data.params.wrap", "data.params.train.params.other")
REFERENCES = ("${oc.env:SECRET}", "${oc.decode:${oc.env:SECRET}}", "${oc.create:{a: 1}}", "${oc.select:model}",
              "${oc.dict.keys:model}", "${evil:1}", "a${model.target}", "${model.target}${model.target}", "${.target}",
              "${model}", "${model.params.image_size", "${}", "${nope}", "\\${model.target}")
TEXTS: dict[str, Callable[[], bytes]] = {
    "anchors to 10^9 values": lambda: b"a0: &a0 [x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)),
    "merge keys to 2^30 keys": lambda: b"a0: &a0 {k: 1}\n" + b"".join(
        b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 30)),
    "references to 2^30 values": lambda: b"x0: {a: 1}\n" + b"".join(
        b"x%d: {a: '${x%d}', b: '${x%d}'}\n" % (n, n - 1, n - 1) for n in range(1, 30)),
    "references in a circle": lambda: b"a: ${b}\nb: ${a}\n",
    "itself": lambda: b"&a [*a]", "a mapping in itself": lambda: b"&a {model: *a}",
    "100,000 lists in each other": lambda: b"a: " + b"[" * 100_000, "100,000 mappings": lambda: b"{a: " * 100_000,
    "closed ones": lambda: b"a: " + b"[" * 5000 + b"]" * 5000, "a text of 100 MB": lambda: b"a: " + b"x" * 10**8,
    "a number of 100,000 digits": lambda: b"a: " + b"9" * 100_000,
    "a key of 100,000 letters": lambda: b"x" * 100_000 + b": 1",
    "100,000 keys": lambda: b"".join(b"k%d: 1\n" % n for n in range(100_000)),
    "a key twice": lambda: b"model: 1\nmodel: 2\n",
    "keys that are not text": lambda: b"1: 2\nnull: 3\n[a]: 4\n? {a: b}\n: 5\n",
    "a tab": lambda: b"model:\n\ttarget: x\n",
    "python/object/apply": lambda: b"a: !!python/object/apply:os.system [touch canary]\n",
    "python/name": lambda: b"a: !!python/name:os.system ''\n", "python/module": lambda: b"a: !!python/module:evil ''\n",
    "python/object/new": lambda: b"a: !!python/object/new:evil.Thing []\n", "pathlib": lambda:
        b"a: !!python/object/apply:pathlib.Path [x]\n", "binary": lambda: b"a: !!binary c3lzdGVt\n", "set": lambda:
        b"a: !!set {x, y}\n", "timestamp": lambda: b"a: !!timestamp 2026-01-01\n",
        "its own tag": lambda: b"a: !evil x\n",
    "two documents": lambda: b"a: 1\n---\nb: 2\n", "no UTF-8": lambda: b"a: \xff\xfe\n", "UTF-16": lambda:
        "model: 1".encode("utf-16"), "code 0": lambda: b"a: \x00\n", "half a letter": lambda: b'a: "\\ud800"\n',
    "a pickle": lambda: b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.", "nothing": lambda: b"",
    "a list": lambda: b"- 1\n",
    "a text": lambda: b"just a text", "its own base": lambda: b"base: config.yaml\n", "base: /etc/passwd": lambda:
        b"base: /etc/passwd\n", "base: a folder": lambda: b"base: .\n",
        "base: a list": lambda: b"base: [config.yaml]\n",
    "base: a device": lambda: b"base: /dev/zero\n", "base: code 0": lambda: b'base: "a\\0b"\n',
}


def watch(folder: Path) -> Callable[[], None]:
    """In a trial's process: work in a folder, where hostile modules lie, and say when something is started, connected
    or imported from there."""
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "socket.connect",
                             "webbrowser.", "pty.", "os.kill", "builtins.input", "code.")) or (
                event == "import" and str(arguments[0]).startswith("evil")) or (
                event == "shutil.rmtree" and "victim" in str(arguments[0])) or (
                event == "ctypes.dlopen" and "libc" in str(arguments[0])):
            os.write(2, EVENTS + f"{event} {arguments}\n".encode())

    def before() -> None:
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        os.environ["SECRET"] = SECRET
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.addaudithook(hook)

    return before


def prepare(folder: Path) -> None:
    """Hostile modules in a folder, and files that they might be after."""
    (folder / "evil_package").mkdir()
    (folder / "victim").mkdir()
    (folder / "victim/file").write_text("precious")
    for name in ("evil.py", "evil_package/evil.py", "evil_package/__init__.py", "hubconf.py"):
        (folder / name).write_text(EVIL)


def model_config() -> dict[str, Any]:
    """The embedded model's config, to be changed."""
    config: Any = OmegaConf.to_container(load_config(EMBEDDED_MODEL.parent / "config.yaml"))
    config["model"]["params"]["cond_stage_config"]["params"]["tokenizer"] = str(EMBEDDED_MODEL.parent / "tokenizer")
    return config


def put(config: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of a config with a value at a place."""
    config = copy.deepcopy(config)
    *path, last = place.split(".")
    inner = config
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return config


def draw(folder: Path, content: bytes) -> Ended:
    """txt2img.py with a checkpoint beside which a config lies."""
    stranger = folder / "stranger"
    stranger.mkdir()
    (stranger / "model.ckpt").symlink_to(EMBEDDED_MODEL)
    (stranger / "config.yaml").write_bytes(content)
    return command(str(ROOT / "txt2img.py"), "--ckpt_path", stranger / "model.ckpt", "--prompt", "a", "--n_samples",
                   "1",
                   "--ddim_steps", "1", "--outdir", "out", before=watch(folder))


def learn(folder: Path, content: bytes) -> Ended:
    """train_new.py with a stranger's config on top of others."""
    (folder / "stranger.yaml").write_bytes(content)
    return command(str(ROOT / "train_new.py"), "--base", ROOT / "configs/emoji/finetune.yaml", folder / "stranger.yaml",
                   "--actual_resume", EMBEDDED_MODEL, "--data_root", ROOT / DATA, "--init_word", "bird", "-t",
                   "--logdir", "out", *QUICK, *NO_GRIDS, "lightning.trainer.max_steps=1", before=watch(folder))


def go_on(run: Path) -> Callable[[Path, bytes], Ended]:
    """train_new.py --resume with a copy of a run whose config a stranger has changed."""
    def resume(folder: Path, content: bytes) -> Ended:
        shutil.copytree(run, folder / "run")
        (folder / "run/configs/zz-project.yaml").write_bytes(content)
        return command(str(ROOT / "train_new.py"), "-t", "--resume", folder / "run", "lightning.trainer.max_steps=2",
                       before=watch(folder))
    return resume


Trial = tuple[str, Callable[[Path, bytes], Ended], Callable[[], bytes], bool]


def trials(run: Path) -> list[Trial]:
    """(name, the command, the config, whether the command must go well and leave it out)."""
    found: list[Trial] = []
    model, resume = model_config(), go_on(run)

    def as_text(config: Any) -> Callable[[], bytes]:
        return lambda: json.dumps(config).encode()

    for target, params in TARGETS.items():
        value = {"target": target, "params": params}
        for place in MODEL_PLACES:
            found.append((f"draw {place}: {target[:50]}", draw, as_text(put(model, place, value)), False))
        for place in (*MODEL_PLACES, *TRAINING_PLACES):
            found.append((f"learn {place}: {target[:50]}", learn, as_text(put({}, place, value)), False))
            found.append((f"resume {place}: {target[:50]}", resume, as_text(put({}, place, value)), False))
        for place in UNUSED_PLACES:
            if place.startswith("model"):
                found.append((f"draw {place}: {target[:50]}", draw, as_text(put(model, place, value)), True))
            found.append((f"learn {place}: {target[:50]}", learn, as_text(put({}, place, value)), True))
    for odd in (None, 5, True, ["os.system"], {"a": 1}, 1.5):
        found.append((f"draw target {odd}", draw, as_text(put(model, "model.target", odd)), False))
        found.append((f"learn target {odd}", learn, as_text(put({}, "data.params.train.target", odd)), False))
    for reference in REFERENCES:
        value = put(model, "model.params.cond_stage_config.params.tokenizer", reference)
        found.append((f"draw {reference}", draw, as_text(value), False))
        value = put({}, "data.params.train.params.coarse_class_text", reference)
        found.append((f"learn {reference}", learn, as_text(value), False))
    for name, content in TEXTS.items():
        found += [(f"draw {name}", draw, content, False), (f"learn {name}", learn, content, False)]
    return found


def verdict(folder: Path, ended: Ended, harmless: bool) -> str:
    """What was wrong with a trial, or nothing."""
    if EVENTS.decode() in ended.err or SECRET in ended.err:
        return f"does or tells something: {ended.err[-300:]}"
    if (folder / CANARY).exists() or not (folder / "victim/file").exists():
        return "runs or writes something"
    if harmless:
        return "" if ended.status == 0 else f"should be left out: {ended}"
    return "" if ended.one_line or ended.status == 0 else str(ended)


def run(seed: int, count: int) -> tuple[int, int, list[str]]:
    """(good, total, failures) of so many configs."""
    warm_up()
    import torch.distributed.elastic.multiprocessing.redirects  # noqa: F401  # opens libc, whatever a config says

    failures = []
    with tempfile.TemporaryDirectory() as kept:
        assert train(Path(kept) / "logs", *NO_GRIDS, "lightning.trainer.max_steps=1").status == 0
        stopped = only_run(Path(kept) / "logs")
        assert stopped is not None
        everything = trials(stopped)
        rest = [t for t in everything if t[0].split(" ", 1)[1] not in TEXTS]
        chosen = [t for t in everything if t not in rest]
        chosen = [*chosen, *random.Random(seed).sample(rest, min(len(rest), max(0, count - len(chosen))))][:count]
        for name, attempt, content, harmless in chosen:
            with tempfile.TemporaryDirectory() as folder:
                prepare(Path(folder))
                ended = attempt(Path(folder), content())
                if wrong := verdict(Path(folder), ended, harmless):
                    failures.append(f"{name}: {wrong}")
    return len(chosen) - len(failures), len(chosen), failures
