"""Files from strangers, at the commands that take them: read well, or refused in one line that says what they are."""

import functools
import os
import pickle
import struct
import time
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import load
import train_new
import txt2img
import txt2img_v1
from benchmarks.faults import mutations, pickles
from benchmarks.faults.trial import not_plain
from check import check_model
from improvement.v2.aligner import load_aligner, save_aligner
from ldm.embedding_files import read_embeddings
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.serialization import read_tensors, write_tensors
from tests.conftest import GOLDEN, ROOT, assert_one_line_error, run_main

ALIGNER = ROOT / "models/multilingual/emoji/aligner.pt"
WORDS = {"*": torch.arange(16.0), "&": torch.ones(2, 16).half()}
VECTORS = {p: v.float().reshape(-1, 16) for p, v in WORDS.items()}
LIVE = {title: pickles.name(*title.rsplit(".", 1)) for title in (
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "os.system", "builtins.eval",
    "collections.OrderedDict", "ldm.files.write_bytes", "ldm.unpickle.MAKERS", "torch.FloatStorage")}


def hostile(form, pushed):
    return pickles.FORMS[form](pickles.file_of(pushed))


# Pickles -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("live", LIVE)
def test_nothing_live_is_reached(tmp_path, monkeypatch, live, form):
    """Every operation on every object: the word is read, and no object outside the file has changed."""
    monkeypatch.chdir(tmp_path)
    kept = dict(vars(torch._utils._rebuild_tensor_v2)), torch._utils._rebuild_tensor_v2.__name__
    for title, attack in pickles.FAMILIES.items():
        (tmp_path / "file.pt").write_bytes(hostile(form, attack(LIVE[live], *live.rsplit(".", 1))))
        try:
            assert torch.equal(read_embeddings(tmp_path / "file.pt")["*"], torch.tensor([[1.0, 2, 3, 4]])), title
            assert not_plain(read_tensors(tmp_path / "file.pt")) == "", title
        except UserError as error:
            assert "file.pt: not a checkpoint, or cut short" in str(error) and "\n" not in str(error), title
        assert os.listdir(tmp_path) == ["file.pt"], title
    assert kept == (dict(vars(torch._utils._rebuild_tensor_v2)), torch._utils._rebuild_tensor_v2.__name__)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_module_of_another_source_writes_no_patch(tmp_path, monkeypatch, form):
    """What torch.load did with a pickle that gives a live function a name of its own."""
    monkeypatch.chdir(tmp_path)
    attack = pickles.FAMILIES["a module of another source"](LIVE["torch._utils._rebuild_tensor_v2"], "", "")
    (tmp_path / "file.pt").write_bytes(hostile(form, attack))
    assert list(read_embeddings(tmp_path / "file.pt")) == ["*"]
    assert os.listdir(tmp_path) == ["file.pt"] and torch._utils._rebuild_tensor_v2.__name__ == "_rebuild_tensor_v2"


@pytest.mark.parametrize("title", [t for t in pickles.BOMBS if not t.startswith(("deep", "marks", "too many"))])
def test_small_programs_that_would_make_much_end_soon(tmp_path, title):
    start = time.process_time()
    for form in ("zip", "legacy"):
        (tmp_path / "file.pt").write_bytes(hostile(form, pickles.BOMBS[title]))
        try:
            assert not_plain(read_tensors(tmp_path / "file.pt")) == ""
        except UserError as error:
            assert len(str(error).splitlines()) == 1 and error.__cause__ is not None
    assert time.process_time() - start < 5


@pytest.mark.parametrize("title", pickles.archives())
def test_archives_that_are_hostile_themselves(tmp_path, title):
    (tmp_path / "file.pt").write_bytes(pickles.archives()[title])
    try:
        assert list(read_embeddings(tmp_path / "file.pt")) == ["*"]
    except UserError as error:
        assert len(str(error).splitlines()) == 1


OPERATIONS = [bytes([code]) for code in range(256) if bytes([code]) not in b"."]
PIECES = st.sampled_from([*OPERATIONS, *LIVE.values(), b"(", b"N", b")", b"t", b"q\x00", b"h\x00", pickles.tensor(),
                          pickles.storage(view=pickles.VIEW), pickles.text("x"), pickles.number(5), pickles.STATE])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(program=st.lists(PIECES, max_size=30).map(b"".join), form=st.sampled_from(["zip", "legacy", "bare"]))
def test_any_program_makes_plain_things_or_is_refused(tmp_path_factory, program, form):
    file = tmp_path_factory.getbasetemp() / "program.pt"
    file.write_bytes(hostile(form, program))
    try:
        assert not_plain(read_tensors(file)) == ""
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and str(file) in str(error)


# Containers ----------------------------------------------------------------------------------------------------------

class Callback:
    """What Lightning pickles beside tensors."""

    def __init__(self):
        self.state = {"best": torch.ones(1), "seen": {1, 2}}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pytorch_saves_is_read_in_both_formats(tmp_path, new, protocol):
    shared = torch.arange(12.0)
    content = {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 16))}),
               "module": torch.nn.Linear(2, 2), "callback": Callback(), "views": [shared[2:5], shared.view(3, 4).T],
               "state_dict": OrderedDict(w=torch.nn.Parameter(torch.ones(3))), "float8": torch.ones(4).to(
                   torch.float8_e4m3fn), "bytes": b"\xff\x00", "complex": torch.ones(2, dtype=torch.complex64)}
    torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    read = read_tensors(tmp_path / "file.pt")
    assert torch.equal(read["string_to_param"]["*"], torch.ones(2, 16)) and read["bytes"] == b"\xff\x00"
    assert torch.equal(read["state_dict"]["w"], torch.ones(3)) and type(read["state_dict"]["w"]) is torch.Tensor
    assert all(torch.equal(a, b) for a, b in zip(read["views"], content["views"], strict=True))
    assert read["views"][0].untyped_storage().data_ptr() == read["views"][1].untyped_storage().data_ptr()
    assert torch.equal(read["float8"].float(), torch.ones(4)) and read["complex"].dtype == torch.complex64


@pytest.mark.parametrize("name", ["WORDS.SAFETENSORS", "words.pt", "words.bin", "words.ckpt", "words", "words.png"])
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_files_are_known_by_what_they_hold(tmp_path, name, form):
    if form == "safetensors":
        (tmp_path / name).write_bytes(safetensors.torch.save(WORDS))
    else:
        torch.save(WORDS, tmp_path / name, _use_new_zipfile_serialization=form == "zip")
    read = read_embeddings(tmp_path / name)
    assert list(read) == list(WORDS) and all(torch.equal(read[p], v) for p, v in VECTORS.items())


@functools.cache
def other_kinds():
    return {**mutations.other_kinds(), "a pickle": pickle.dumps({"*": [1.0]}), "safetensors cut short":
            safetensors.torch.save(WORDS)[:-4], "a header longer than the file": struct.pack("<Q", 10**6) + b'{"a":'}


@pytest.mark.parametrize("kind, words", [
    ("a pointer of Git LFS", "git lfs pull"), ("a web page", "a web page"), ("text", "text, not a checkpoint"),
    ("a picture", "a PNG picture"), ("gzip", "unpack"), ("tar", "a tar archive"), ("zip", "a zip archive"),
    ("TorchScript", "a TorchScript archive"), ("nothing", "an empty file"), ("a pickle", "a pickle of Python's own"),
    ("noise", "not a checkpoint"), ("safetensors cut short", "cut short"),
    ("a header longer than the file", "cut short")])
def test_commands_say_what_a_file_is(tmp_path, kind, words):
    file = tmp_path / "file.pt"
    file.write_bytes(other_kinds()[kind])
    out = ("--outdir", tmp_path / "out", "--ddim_steps", 1, "--n_samples", 1)
    assert_one_line_error(run_main(txt2img.main, "--embedding_path", file, *out), str(file), words)
    assert_one_line_error(run_main(check_model.main, file), str(file), words)
    assert not (tmp_path / "out").exists()


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    for path, words in ((tmp_path, "a folder"), (tmp_path / "pipe.pt", "a pipe or a device"), ("/dev/zero", "a device"),
                        (tmp_path / "none.pt", "no such file"), (tmp_path / ("x" * 300), "name too long")):
        for result in (run_main(txt2img.main, "--embedding_path", path), run_main(check_model.main, path),
                       run_main(txt2img.main, "--ckpt_path", path), run_main(txt2img_v1.main, "--embedding_path", path),
                       run_main(train_new.main, "--base", "configs/emoji/finetune.yaml", "--actual_resume", path,
                                "--data_root", ROOT / "dataset/green_apple", "--logdir", tmp_path / "logs")):
            assert_one_line_error(result, words)
    assert not (tmp_path / "logs").exists()


# Contents ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("odd", mutations.odd_words())
def test_odd_vectors(shared_small_model, tmp_path, odd):
    torch.save({"string_to_param": {"*": mutations.odd_words()[odd]}}, tmp_path / "file.pt")
    manager = EmbeddingManager(shared_small_model.cond_stage_model, ["*"], ["dog"])
    kept = manager.string_to_param_dict["*"]
    try:
        manager.load(tmp_path / "file.pt")
        vectors = manager.string_to_param_dict["*"]
        assert vectors.shape[1] == 16 and len(vectors) and torch.isfinite(vectors).all()
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and "file.pt" in str(error)
        assert manager.string_to_param_dict["*"] is kept, "nothing has changed"


@pytest.mark.parametrize("odd", mutations.odd_dictionaries())
def test_odd_dictionaries(shared_small_model, tmp_path, odd):
    torch.save(mutations.odd_dictionaries()[odd], tmp_path / "file.pt")
    manager = EmbeddingManager(shared_small_model.cond_stage_model, ["*"], ["dog"])
    names = {"two tokens": "two words", "a method's name": "keys", "a dot": ".", "a dunder": "__class__"}
    name = names.get(odd.removeprefix("a flat key that is ").removeprefix("a key that is "))
    if name or odd == "tokens that are none":  # any text is a name, and the text encoder's own tokens are taken
        manager.load(tmp_path / "file.pt")
        assert list(manager.string_to_param_dict) == [name or "*"]
        return
    with pytest.raises(UserError) as caught:
        manager.load(tmp_path / "file.pt")
    assert len(str(caught.value).splitlines()) == 1 and "file.pt" in str(caught.value)


def test_a_diverged_word_is_refused_before_anything_is_drawn(tmp_path):
    torch.save({"*": torch.full((192,), float("nan"))}, tmp_path / "nan.pt")
    result = run_main(txt2img.main, "--embedding_path", tmp_path / "nan.pt", "--outdir", tmp_path / "out")
    assert_one_line_error(result, "nan.pt", "'*' holds numbers that are not finite (NaN, infinity)")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("odd", mutations.odd_weights())
def test_odd_weights(tmp_path, odd):
    weights = torch.load(GOLDEN / "model.ckpt", weights_only=True)["state_dict"]
    torch.save(mutations.odd_weights()[odd](dict(weights)), tmp_path / "file.ckpt")
    try:
        model = load.load_model_from_config(load.load_config(GOLDEN / "config.yaml"), tmp_path / "file.ckpt")
        assert all(torch.isfinite(p).all() for p in model.parameters())
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and "file.ckpt" in str(error)
        assert len(str(error)) < 1000


def test_weights_with_names_for_the_terminal_are_shown_escaped(tmp_path):
    write_tensors(tmp_path / "file.ckpt", {"\x1b[2J\nerror: x": torch.ones(3), "y" * 1000: torch.full((2,), torch.nan)})
    result = run_main(check_model.main, tmp_path / "file.ckpt", "--config", GOLDEN / "config.yaml")
    assert result.status == 0 and "\x1b" not in result.out and "\\x1b[2J\\nerror: x" in result.out
    assert "not finite" in result.out and "y" * 81 not in result.out


@pytest.mark.parametrize("odd", [o for o in mutations.odd_sizes() if o != "as it is"])
def test_odd_aligners(tmp_path, odd):
    aligner = torch.load(ALIGNER, weights_only=True)
    torch.save({**aligner, "aligner": mutations.odd_sizes()[odd](dict(aligner["aligner"]))}, tmp_path / "aligner.pt")
    with pytest.raises(UserError, match="aligner.pt: not an aligner") as caught:
        load_aligner(tmp_path / "aligner.pt")
    assert len(str(caught.value).splitlines()) == 1


def test_weights_of_an_aligner_are_finite(tmp_path):
    aligner = load_aligner(ALIGNER)
    aligner.logit_scale.data.fill_(torch.nan)
    save_aligner(aligner, tmp_path / "aligner.pt")
    with pytest.raises(UserError, match=r"not an aligner .*not finite .*logit_scale"):
        load_aligner(tmp_path / "aligner.pt")


@pytest.mark.slow
def test_odd_adapters(tmp_path):
    model = load.load_model_from_config(load.model_config(GOLDEN / "model.ckpt", variant="v1"), GOLDEN / "model.ckpt")
    manager = model.embedding_manager
    good = {"string_to_param": {"*": torch.ones(1, 16)}, **manager.companions()}
    kept = manager.post_bert
    for title, change in mutations.odd_adapters().items():
        torch.save(change(dict(good)), tmp_path / "file.pt")
        if title in ("as it is", "of an earlier version"):
            continue
        with pytest.raises(UserError, match=r"file.pt: (its adapter|a word without an adapter)"):
            manager.load(tmp_path / "file.pt")
        assert manager.post_bert is kept, title
    torch.save(good, tmp_path / "file.pt")
    manager.load(tmp_path / "file.pt")
    assert manager.post_bert is not kept


# Damage --------------------------------------------------------------------------------------------------------------

def word_files():
    word = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict(
        {"*": torch.nn.Parameter(torch.ones(2, 16))})}
    return [mutations.saved(word), mutations.saved(word, **mutations.OLDER), safetensors.torch.save(WORDS),
            (GOLDEN / "embeddings.pt").read_bytes()]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(file=st.sampled_from(word_files()), draw=st.randoms(use_true_random=False))
def test_damaged_words_are_read_well_or_refused(tmp_path_factory, shared_small_model, file, draw):
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(mutations.mutated(file, draw)[1])
    manager = EmbeddingManager(shared_small_model.cond_stage_model, ["*"], ["dog"])
    try:
        manager.load(path)
        for vectors in manager.embedding_parameters():
            assert vectors.shape[1] == 16 and torch.isfinite(vectors).all()
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and "damaged.pt" in str(error)
