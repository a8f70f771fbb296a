"""Pickles of every protocol, honest and not: plain things come out, and nothing runs."""

import collections
import contextlib
import datetime
import math
import pickle
import pickletools
from io import BytesIO
from typing import Any

import pytest
import torch

from ldm import unpickle
from ldm.unpickle import Inert, Machine, Storage

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
THINGS: list[Any] = [
    None, True, False, 0, 1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**70), 2**250, 0.5, -1e300, math.inf, "",
    "a b\n'", "빨간 사과", "\U0001f34e", b"\x00\xff", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1, [2, [3]]], {},
    {"a": 1},
    {1: {2: {3: 4}}}, {(1, "x"): 2, None: 3, True: 4, 1.5: 5, b"b": 6}, set(), {1, "two"}, frozenset({1, (2, 3)}),
    [1] * 3000, {str(i): i for i in range(3000)}, "x" * 70_000, bytearray(b"bytes"), 2 + 3j,
    collections.OrderedDict(b=1, a=2), collections.defaultdict(list, a=[1]), collections.Counter("aab"),
    [(), [], {}, "", None] * 2, {"deep": [{"er": ({"still": [1.0]},)}]},
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("thing", THINGS, ids=[f"{type(thing).__name__}{i}" for i, thing in enumerate(THINGS)])
def test_plain_things_come_out_as_they_went_in(thing, protocol):
    found = Machine().run(BytesIO(pickle.dumps(thing, protocol)))
    assert found == thing and (type(found) is type(thing) or isinstance(thing, dict))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_was_one_thing_is_one_thing(protocol):
    shared = ["shared", "twice " * 3]
    looped: list[Any] = [shared, shared, ("tuple", shared)]
    looped.append(looped)
    found = Machine().run(BytesIO(pickle.dumps(looped, protocol)))
    assert found[0] is found[1] is found[2][1] and found[3] is found and found[0] == shared


def test_pickles_follow_each_other():
    file = BytesIO(pickle.dumps(1) + pickle.dumps("two") + b"the rest")
    assert Machine().run(file) == 1 and Machine().run(file) == "two" and file.read() == b"the rest"


def test_strings_of_python_2_are_text_where_they_are():
    program = b"(S'abc'\nU\x03" + "한".encode() + b"T\x03\0\0\0" + "글".encode() + b"U\x02\xff\xfet."
    assert Machine().run(BytesIO(program)) == ("abc", "한", "글", "\xff\xfe")


class Thing:
    def __init__(self):
        self.x = 1


class WithSlots(collections.UserDict):
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("thing, name", [
    (Thing(), "Thing"), (WithSlots(a=1), "WithSlots"), (Thing, "Thing"), (datetime.date(2026, 1, 1), "date"),
    (print, "print"), (ValueError("x"), "ValueError")])
def test_everything_else_is_inert(thing, name, protocol):
    found = Machine().run(BytesIO(pickle.dumps([thing, "after"], protocol)))
    assert type(found[0]) is Inert and found[1] == "after"
    assert found[0].name in (name, "_reconstructor"), "it says what it was"


class Attack:
    def __reduce__(self):
        return eval, ("__import__('os').environ.update(ATTACKED='yes')",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_runs(monkeypatch, protocol):
    monkeypatch.delenv("ATTACKED", raising=False)
    import os
    for thing in (Attack(), [Attack()], {"a": Attack()}, {"state_dict": {"w": (Attack(), 1)}}):
        Machine().run(BytesIO(pickle.dumps(thing, protocol)))
    program = b"ios\nsystem\n(S'true'\ntR(ios\nsystem\nS'true'\no0(cos\nsystem\nS'true'\no."
    for text in (b"(S'true'\nios\nsystem\n.", b"(cos\nsystem\nS'true'\no.", program):
        with contextlib.suppress(pickle.UnpicklingError, ValueError, IndexError):
            assert type(Machine().run(BytesIO(text))) is Inert
    assert "ATTACKED" not in os.environ


@pytest.mark.parametrize("program, match", [
    (b"\x80\x02\x82\x01.", "the operation EXT1"), (b"\x80\x02K\x01\x86.", "not there"), (b"K\x01\x87.", "not there"),
    (b"\x85.", "not there"), (b"}K\x01a.", "dict filled as a list"), (b"]K\x01K\x02s.", "list filled as a dict"),
    (b"\x80\x04](K\x01\x90.", "list filled as a set"), (b"K\x01Q.", "not a storage's"),
    (b"\x80\x05\x97.", "operation"), (b"\x8b\x22\0\0\0" + b"\xff" * 33 + b"\0.", "too many digits"),
    (b"\x8a\x21" + b"\x7f" * 33 + b".", "too many digits")])
def test_programs_that_make_no_sense_are_refused(program, match):
    with pytest.raises(pickle.UnpicklingError, match=match):
        Machine().run(BytesIO(program))


def test_a_number_of_256_bits_is_not_too_long():
    assert Machine().run(BytesIO(pickle.dumps(2**255))) == 2**255
    with pytest.raises(pickle.UnpicklingError, match="digits"):
        Machine().run(BytesIO(pickle.dumps(2**256)))


@pytest.mark.parametrize("program", [
    b".", b"(.", b"0.", b"a.", b"R.", b"b.", b"K", b"g5\n.", b"q\x01.", b"", b"\x80\x02N"])
def test_damaged_programs_end_in_an_error(program):
    with pytest.raises((pickle.UnpicklingError, ValueError, IndexError, KeyError)):
        Machine().run(BytesIO(program))


def test_work_is_counted(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_STEPS", 50)
    with pytest.raises(pickle.UnpicklingError, match="too many steps"):
        Machine().run(BytesIO(b"N0" * 30 + b"N."))
    assert Machine().run(BytesIO(b"N0" * 20 + b"N.")) is None
    copies = b"](" + b"K\x01" * 10 + b"eq\x010" + b"cbuiltins\nlist\nh\x01\x85R0" * 5 + b"N."
    with pytest.raises(pickle.UnpicklingError, match="too many steps"):
        Machine().run(BytesIO(copies))  # few operations, but each copies ten things
    mapping = b"ccollections\nOrderedDict\n](" + b"K\x01K\x02\x86" * 9 + b"e\x85R0" + b"N."
    monkeypatch.setattr(unpickle, "MAX_STEPS", len(list(pickletools.genops(mapping))) + 8)
    with pytest.raises(pickle.UnpicklingError, match="too many steps"):
        Machine().run(BytesIO(mapping))
    monkeypatch.setattr(unpickle, "MAX_STEPS", len(list(pickletools.genops(mapping))) + 9)
    assert Machine().run(BytesIO(mapping)) is None


def test_keys_are_small():
    for key in ("x" * 1025, b"x" * 1025, 2**63, -(2**63), tuple(range(17)), (1, (2, (3,)))):
        (found,) = Machine().run(BytesIO(pickle.dumps({key: 1})))
        assert type(found) is Inert and found.name == "key" or found == (1, found[1]) and type(found[1]) is Inert
    for key in ("x" * 1024, 2**63 - 1, tuple(range(16)), frozenset()):
        (found,) = Machine().run(BytesIO(pickle.dumps({key: 1})))
        assert found == key or key == frozenset() and type(found) is Inert


# Tensors: persistent ids name storages, and functions of torch are known by name.

FLOATS = torch.arange(12.0)


class Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Writer(pickle._Pickler):
    """Writes Global as the global it names, and a Reference as a persistent id."""

    def persistent_id(self, thing):
        return thing.content if isinstance(thing, Reference) else None

    def save(self, thing, save_persistent_id=True):
        if isinstance(thing, Global):
            self.write(f"c{thing.module}\n{thing.name}\n".encode())
        elif isinstance(thing, Call):
            self.save(thing.function)
            self.save(thing.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(thing, save_persistent_id)


class Reference:
    def __init__(self, *content):
        self.content = content


class Call:
    def __init__(self, module, name, *arguments):
        self.function, self.arguments = Global(module, name), arguments


def made(thing, protocol=2, storage=FLOATS):
    """What the machine makes of a thing, with one storage to find."""
    def find(key, dtype, numel, view):
        assert dtype == storage.dtype and view is None
        return Storage(storage.untyped_storage(), storage.dtype)

    file = BytesIO()
    Writer(file, protocol).dump(thing)
    return Machine(find).run(BytesIO(file.getvalue()))


def storage(kind="FloatStorage", key="0", numel=12, word="storage"):
    return Reference(word, Global("torch", kind), key, "cpu", numel)


def rebuild(offset=0, size=(3, 4), stride=(4, 1), rest=(False, collections.OrderedDict()),
            function="_rebuild_tensor_v2", **changes):
    return Call("torch._utils", function, storage(**changes), offset, size, stride, *rest)


@pytest.mark.parametrize("offset, size, stride", [
    (0, (3, 4), (4, 1)), (0, (4, 3), (1, 4)), (2, (2, 5), (5, 1)), (11, (1,), (1,)), (5, (), ()), (0, (2, 6), (0, 1)),
    (0, (3, 3), (1, 1)), (0, (0, 4), (4, 1)), (0, (2, 2), (10, 1))])
def test_a_tensor_is_a_view_of_its_storage(offset, size, stride):
    found = made(rebuild(offset, size, stride))
    expected = FLOATS.as_strided(size, stride, offset)
    assert torch.equal(found, expected) and found.stride() == (expected.stride() if found.numel() else found.stride())
    assert not found.numel() or found.untyped_storage().data_ptr() == FLOATS.untyped_storage().data_ptr(), "no copy"


@pytest.mark.parametrize("offset, size, stride", [
    (1, (3, 4), (4, 1)), (0, (3, 5), (4, 1)), (0, (13,), (1,)), (12, (1,), (1,)), (0, (2, 2), (11, 1)), (12, (), ()),
    (0, (2**21,), (0,)), (0, (2**40, 2**40), (0, 0))])
def test_a_tensor_fits_its_storage(offset, size, stride):
    with pytest.raises(pickle.UnpicklingError, match="does not fit its storage of 12"):
        made(rebuild(offset, size, stride))
    assert made(rebuild(0, (2**20,), (0,))).shape == (2**20,), "an expanded tensor is fine up to a size"


@pytest.mark.parametrize("changes", [
    {"offset": -1}, {"offset": 0.0}, {"size": (-1, 4)}, {"size": [3, 4]}, {"stride": (4, -1)}, {"size": (1,) * 17,
     "stride": (1,) * 17}, {"size": (2**60,), "stride": (1,)}, {"offset": True}])
def test_a_shape_is_a_shape(changes):
    with pytest.raises(pickle.UnpicklingError, match="shape is no shape"):
        made(rebuild(**changes))
    assert made(rebuild(0, (1,) * 16, (1,) * 16)).shape == (1,) * 16


def test_sizes_and_strides_go_together():
    with pytest.raises(ValueError):
        made(rebuild(0, (3, 4), (1,)))


@pytest.mark.parametrize("thing, match", [
    (storage(kind="ThingStorage"), "no known kind"), (storage(key="k" * 1025), "no known kind"),
    (storage(key=(1,)), "no known kind"), (storage(numel=-1), "no known kind"), (storage(numel=1.0), "no known kind"),
    (storage(numel=2**60), "no known kind"), (storage(word="thing"), "not a storage's"),
    (Reference("storage", "FloatStorage", "0", "cpu", 12), "no known kind"), (Reference("storage"), "not a storage's"),
    (Reference(*range(7)), "not a storage's")])
def test_references_to_storages_make_sense(thing, match):
    with pytest.raises(pickle.UnpicklingError, match=match):
        made(thing)


def test_a_storage_can_have_a_number_for_a_key():
    assert torch.equal(made(rebuild(key=7)), FLOATS.reshape(3, 4))
    with pytest.raises(pickle.UnpicklingError, match="where there is none"):
        file = BytesIO()
        Writer(file, 2).dump(storage())
        Machine().run(BytesIO(file.getvalue()))


@pytest.mark.parametrize("function, rest", [
    ("_rebuild_tensor", ()), ("_rebuild_tensor_v2", (True, {})), ("_rebuild_tensor_v2", (False, {}, None)),
    ("_rebuild_tensor_v2", (False, {}, {})),
    ("_rebuild_tensor_v3", (False, {}, Global("torch", "float32"))),
    ("_rebuild_tensor_v3", (False, {}, Global("torch", "float32"), {}))])
def test_every_way_to_rebuild_a_tensor(function, rest):
    found = made(rebuild(function=function, rest=rest))
    assert torch.equal(found, FLOATS.reshape(3, 4)) and not found.requires_grad


@pytest.mark.parametrize("function, rest", [
    ("_rebuild_tensor_v2", (False, {}, {"neg": True})), ("_rebuild_tensor_v2", (False, {}, [])),
    ("_rebuild_tensor_v3", (False, {}, Global("torch", "thing"))), ("_rebuild_tensor_v3", (False, {}, "float32")),
    ("_rebuild_tensor_v3", (False, {}, Global("os", "float32"))), ("_rebuild_sparse_tensor", ())])
def test_tensors_that_are_more_than_their_storage_are_left_out(function, rest):
    assert type(made(rebuild(function=function, rest=rest))) is Inert


def test_bits_can_be_read_as_another_type():
    found = made(rebuild(function="_rebuild_tensor_v3", offset=2, size=(3,), stride=(2,),
                         rest=(False, {}, Global("torch", "int16"))))
    assert torch.equal(found, FLOATS.view(torch.int16)[2:8:2]) and found.dtype == torch.int16


def test_parameters_and_subclasses_are_tensors():
    tensor, plain = rebuild(), FLOATS.reshape(3, 4)
    for thing in (
            Call("torch._utils", "_rebuild_parameter", tensor, True, {}),
            Call("torch._utils", "_rebuild_parameter_with_state", tensor, True, {}, {"x": 1}),
            Call("torch.nn.parameter", "Parameter", tensor), Call("torch.nn", "Parameter", tensor),
            Call("torch._tensor", "_rebuild_from_type_v2", Global("torch._utils", "_rebuild_tensor_v2"),
                 Global("x", "Y"), (storage(), 0, (3, 4), (4, 1), False, {}), {})):
        found = made(thing)
        assert type(found) is torch.Tensor and torch.equal(found, plain)
    nested = Call("torch._tensor", "_rebuild_from_type_v2", Global("torch._tensor", "_rebuild_from_type_v2"),
                  Global("x", "Y"), (Global("torch._utils", "_rebuild_tensor_v2"), 0, (storage(),), {}), {})
    assert type(made(nested)) is Inert
    for name in ("Parameter", "_rebuild_parameter"):
        module = "torch.nn" if name == "Parameter" else "torch._utils"
        assert type(made(Call(module, name, "no tensor"))) is Inert


def test_calls_with_strange_arguments_are_inert():
    for thing in (Call("builtins", "list", 3), Call("builtins", "bytearray", 2**40), Call("_codecs", "encode", 3, "x"),
                  Call("builtins", "complex", "1"), Call("x", "y"), Call("torch", "Size", {"a": 1})):
        assert type(made(thing)) is Inert
    assert made(Call("collections", "OrderedDict", 3)) == {} and made(Call("torch", "Size", [2, 3])) == (2, 3)
    assert made(Call("_codecs", "encode", "\xff", "latin1")) == b"\xff"
    program = b"K\x01)R."  # a number is no function
    assert type(Machine().run(BytesIO(program))) is Inert


def test_calls_that_make_plain_things():
    large = "x" * 1025
    assert made(Call("builtins", "list", [{"a": [1]}, large])) == [{"a": [1]}, large]
    assert made(Call("builtins", "tuple", [[1], {}])) == ([1], {})
    assert made(Call("builtins", "frozenset", [1, "two"])) == frozenset({1, "two"})
    (small,) = made(Call("builtins", "set", [large]))
    assert type(small) is Inert, "an item of a set is small"
    for arguments, expected in (((2, 3.5), 2 + 3.5j), ((2.5,), 2.5), ((1, 2), 1 + 2j), ((), 0)):
        assert made(Call("builtins", "complex", *arguments)) == expected


def test_copies_of_bytes_are_counted(monkeypatch):
    copies = [Call("builtins", "bytearray", b"x" * 25_600) for _ in range(3)]
    monkeypatch.setattr(unpickle, "MAX_STEPS", 700)
    made(copies)
    monkeypatch.setattr(unpickle, "MAX_STEPS", 500)
    with pytest.raises(pickle.UnpicklingError, match="too many steps"):
        made(copies)


@pytest.mark.parametrize("program", [
    b"(S'true'\nios\nsystem\n.", b"(cos\nsystem\nS'true'\no.", b"cos\nsystem\n(S'true'\ntR.",
    b"\x80\x02cos\nsystem\n)\x81.", b"\x80\x04\x8c\x02os\x8c\x06system\x93))\x92."])
def test_every_way_to_call_makes_one_inert_thing(program):
    found = Machine().run(BytesIO(program))
    assert type(found) is Inert and (found.module, found.name) == ("os", "system")
