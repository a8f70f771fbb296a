"""Files from strangers run no code; files of ours are whole or not there."""

import collections
import os
import pickle

import numpy as np
import pytest
import torch

from ldm import serialization
from ldm.errors import UserError
from ldm.serialization import (
    check_weights,
    not_finite,
    pack_weights,
    read_tensors,
    unpack_weights,
    write_tensors,
)
from load import read_state_dict


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Callback:  # what Lightning pickles beside tensors
    def __init__(self):
        self.best = np.float64(3.0)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_does_not_run(tmp_path, legacy):
    target, file = str(tmp_path / "attacked"), tmp_path / "evil.ckpt"
    torch.save({"state_dict": {"w": torch.ones(3)}, "attack": Attack(target)}, file,
               _use_new_zipfile_serialization=not legacy)
    assert torch.equal(read_tensors(file)["state_dict"]["w"], torch.ones(3))
    assert not os.path.exists(target)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_does_not_run(tmp_path):
    target, file = str(tmp_path / "attacked"), tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps(Attack(target)))
    with pytest.raises(UserError, match="evil.pt"):
        read_tensors(file)
    assert not os.path.exists(target)


@pytest.mark.parametrize("legacy", [False, True])
def test_other_objects_beside_tensors(tmp_path, legacy):
    file = tmp_path / "lightning.ckpt"
    torch.save({"state_dict": collections.OrderedDict(w=torch.arange(4.0), p=torch.nn.Parameter(torch.ones(2))),
                "callbacks": {"x": Callback(), "d": collections.defaultdict(list, a=[1])}, "epoch": 3,
                "score": np.float32(1.5), "array": np.ones(3)}, file, _use_new_zipfile_serialization=not legacy)
    content = read_tensors(file)
    assert content["epoch"] == 3
    assert torch.equal(content["state_dict"]["w"], torch.arange(4.0))
    assert torch.equal(content["state_dict"]["p"], torch.ones(2))
    assert type(content["state_dict"]) is dict and type(content["state_dict"]["p"]) is torch.Tensor


@pytest.mark.parametrize("layout", ["this", "_keys", "_parameters"])
def test_parameter_dicts_of_every_torch_are_read(tmp_path, layout):
    """Until 1.11 torch kept the entries in _parameters, since 1.12 as attributes whose names are in _keys."""
    words, rest = {"*": torch.nn.Parameter(torch.ones(2, 3)), "&": torch.nn.Parameter(torch.zeros(1, 3))}, {}
    saved = torch.nn.ParameterDict(words)
    if layout != "this":
        rest = {"training": True, "_modules": {}}
        vars(saved).clear()
        vars(saved).update(rest | ({"_parameters": words} if layout == "_parameters" else
                                   {"_parameters": None, "_keys": dict.fromkeys(words), **words}))
    torch.save({"string_to_param": saved}, tmp_path / "words.pt")
    content = read_tensors(tmp_path / "words.pt")["string_to_param"]
    assert type(content) is dict and set(content) == {"*", "&"}
    assert all(type(content[p]) is torch.Tensor and torch.equal(content[p], v) for p, v in words.items())


@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.safetensors"])
def test_write_and_read(tmp_path, name):
    tensors = {"x": torch.randn(3, 4), "y": torch.tensor([1, 2])}
    write_tensors(tmp_path / name, tensors)
    content = read_tensors(tmp_path / name)
    assert all(torch.equal(content[k], v) for k, v in tensors.items())


@pytest.mark.parametrize("name", ["cut.ckpt", "cut.safetensors"])
def test_truncated_files(tmp_path, name):
    write_tensors(tmp_path / name, {"x": torch.randn(100, 100)})
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20_000])
    with pytest.raises(UserError, match="cut short"):
        read_tensors(tmp_path / name)


def test_files_that_are_no_checkpoints(tmp_path):
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.ckpt")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("none.ckpt", "none.safetensors"):
        with pytest.raises(UserError, match=f"{name}: no such file"):
            read_tensors(tmp_path / name)
    for name in ("text.ckpt", "empty.ckpt", "list.ckpt", "text.safetensors"):
        with pytest.raises(UserError, match=name):
            read_tensors(tmp_path / name)


def test_packed_weights_take_a_byte_and_come_back_nearly_the_same(tmp_path):
    torch.manual_seed(0)
    weights = {"kernel": torch.randn(8, 4, 3, 3) * torch.logspace(-4, 1, 8)[:, None, None, None],
               "matrix": torch.randn(5, 300), "nothing": torch.zeros(3, 3), "bias": torch.randn(8)}
    packed = pack_weights(weights)
    assert packed["kernel"].dtype == packed["matrix"].dtype == torch.int8 and packed["bias"].dtype == torch.half
    write_tensors(tmp_path / "w.ckpt", {"state_dict": packed})
    back = read_state_dict(tmp_path / "w.ckpt")
    assert list(back) == list(weights) and set(packed) == {*weights, "kernel.step", "matrix.step", "nothing.step"}
    assert all((step > 0).all() for name, step in packed.items() if name.endswith(".step"))
    for name in ("kernel", "matrix", "nothing"):
        largest = weights[name].abs().flatten(1).amax(dim=1)  # of each channel
        error = (back[name] - weights[name]).abs().flatten(1).amax(dim=1)
        assert back[name].dtype == torch.float32 and (error <= largest / 253).all()
    assert all(torch.equal(pack_weights(back)[n], v) for n, v in packed.items() if v.dtype == torch.int8)
    coarse = unpack_weights(pack_weights(weights, bits=4))
    assert coarse["matrix"][0].unique().numel() <= 15


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_tensors_of_any_layout_are_written(tmp_path, name):
    tensors = {"transposed": torch.randn(3, 4).T, "row": torch.randn(5, 6)[2],
               "learned": torch.nn.Parameter(torch.ones(2)), "computed": torch.nn.Parameter(torch.ones(2)) * 2}
    write_tensors(tmp_path / name, {n: t.detach() if name == "a.pt" else t for n, t in tensors.items()})
    content = read_tensors(tmp_path / name)
    assert all(torch.equal(content[n], t) and not content[n].requires_grad for n, t in tensors.items())


def test_a_safetensors_file_has_a_small_header(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((2**23 + 1).to_bytes(8, "little") + b"{" + bytes(2**23))
    with pytest.raises(UserError, match="header is too long"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content, what", [
    ([1, 2], "holds a list"), (torch.ones(2), "holds a Tensor"),
    (torch.nn.Linear(2, 2), r"holds an object \(Linear\)")])
def test_a_file_holds_a_dictionary(tmp_path, content, what):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=f"a.pt: {what}, not a dictionary of tensors"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize("step", [torch.ones(4), torch.ones(3, 1), torch.ones(4, 1, 1), torch.ones(4, 2),
                                  torch.ones(4, 1, dtype=torch.int64)])
def test_steps_are_one_a_row(step):
    weights = {"w": torch.ones(4, 2, dtype=torch.int8), "w.step": step}
    with pytest.raises(UserError, match="its weight w is packed in a way that is not known"):
        unpack_weights(weights)
    assert torch.equal(unpack_weights(weights | {"w.step": torch.full((4, 1), 0.5)})["w"], torch.full((4, 2), 0.5))
    kept = {"w": torch.ones(4, 2), "w.step": torch.ones(4), "n.step": torch.ones(1), "i": torch.ones(2).to(torch.int8)}
    assert unpack_weights(kept).keys() == kept.keys(), "what is not packed is left as it is"
    with pytest.raises(UserError, match="packed"):
        unpack_weights({"s": torch.tensor(1, dtype=torch.int8), "s.step": torch.tensor(1.0)})


EXPECTED = {"a": torch.zeros(2, 3), "b": torch.zeros(4), "count": torch.tensor(0)}


@pytest.mark.parametrize("changes, match", [
    ({"a": None}, r"1 weights are missing \(a\)"), ({"a": "text", "b": None}, r"2 weights are missing \(a, b\)"),
    ({"a": torch.zeros(3, 2)}, r"1 weights have another shape \(a\): a is \[3, 2\], expected \[2, 3\]"),
    ({"b": torch.zeros(4, dtype=torch.int32)}, r"1 weights are not real numbers \(b\): b is torch.int32"),
    ({"b": torch.zeros(4, dtype=torch.complex64)}, "not real numbers"),
    ({"b": torch.tensor([0, 0, 0, float("nan")])}, r"1 weights hold numbers that are not finite .*\(b\): its training"),
    ({"a": torch.full((2, 3), torch.inf).half()}, "not finite")])
def test_weights_are_checked(changes, match):
    with pytest.raises(UserError, match=match):
        check_weights(EXPECTED | changes, EXPECTED)
    check_weights(EXPECTED | {"more": torch.tensor(float("nan"))}, EXPECTED)
    check_weights({n: w.bfloat16() if w.is_floating_point() else w for n, w in EXPECTED.items()}, EXPECTED)


def test_of_large_files_small_tensors_are_looked_at(monkeypatch):
    weights = {"small": torch.ones(4), "large": torch.full((5,), float("nan")), "ids": torch.ones(3, dtype=torch.int64)}
    assert not_finite(weights) == ["large"]
    monkeypatch.setattr(serialization, "SMALL", 4)
    monkeypatch.setattr(serialization, "WHOLE", 9)
    assert not_finite(weights) == ["large"], "so small a file is read whole"
    monkeypatch.setattr(serialization, "WHOLE", 8)
    assert not_finite(weights) == []
    monkeypatch.setattr(serialization, "SMALL", 5)
    assert not_finite(weights) == ["large"]
    monkeypatch.setattr(serialization, "SAMPLE", 1)
    assert not_finite(weights) == [] and not_finite({"x": weights["large"].expand(2, 5)}) == []
