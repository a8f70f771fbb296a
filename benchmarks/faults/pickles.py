"""Hostile pickles: every operation that imports, calls or changes, against everything that must not be reached.

    python -m benchmarks.faults pickles [--count N] [--seed S]
"""

from __future__ import annotations

import codecs
import functools
import importlib
import io
import pickle
import random
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.trial import trial
from ldm.embedding_files import read_embeddings
from ldm.serialization import read_tensors, write_tensors
from load import read_state_dict

COUNT = 500
MARKER = "attacked"
LIVE = [tuple(name.rsplit(" ", 1)) for name in (
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state", "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_wrapper_subclass", "torch._utils _rebuild_qtensor", "torch._tensor _rebuild_from_type_v2",
    "torch._utils _rebuild_nested_tensor", "torch._utils _set_obj_state", "torch Tensor", "torch Size", "torch device",
    "torch float32", "torch FloatStorage", "torch UntypedStorage", "torch.storage TypedStorage",
    "torch.storage _load_from_bytes", "torch load", "torch save", "torch.serialization load", "torch.jit load",
    "torch.hub load", "torch.nn.parameter Parameter", "torch.nn.modules.container ParameterDict",
    "torch.nn.modules.linear Linear", "torch ops", "torch._utils __dict__", "collections OrderedDict",
    "collections Counter", "collections defaultdict", "collections namedtuple", "copyreg _reconstructor",
    "copyreg __newobj__", "copyreg add_extension", "copyreg dispatch_table", "builtins getattr", "builtins setattr",
    "builtins eval", "builtins exec", "builtins open", "builtins __import__", "builtins object", "builtins type",
    "builtins dict", "builtins list", "builtins set", "builtins bytearray", "builtins print", "builtins globals",
    "os system", "posix system", "os mkdir", "os environ", "subprocess Popen", "subprocess check_output",
    "sys modules", "sys exit", "sys path", "types FunctionType", "types CodeType", "functools partial",
    "functools reduce", "operator attrgetter", "operator methodcaller", "importlib import_module", "pickle loads",
    "marshal loads", "numpy load", "numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar",
    "shutil rmtree", "pathlib Path", "ctypes CDLL", "socket socket", "runpy run_path", "timeit timeit",
    "code InteractiveInterpreter", "logging.config dictConfig", "webbrowser open", "omegaconf.dictconfig DictConfig",
    "ldm.files write_bytes", "ldm.serialization write_tensors", "ldm.serialization read_tensors",
    "ldm.serialization torch", "ldm.unpickle Inert", "ldm.unpickle Machine", "ldm.unpickle MAKERS",
    "ldm.unpickle STORAGES", "ldm.errors UserError", "load load_model", "os systemStorage", "evil Storage",
    "_codecs encode", "__main__ x", "ldm.unpickle Machine.run.__globals__", "torch._utils _rebuild_tensor_v2.__code__",
)]


# Assembly ------------------------------------------------------------------------------------------------------------

def text(value: str) -> bytes:
    """Push text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Push an integer."""
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, attribute: str) -> bytes:
    """Push a global, by the old operation."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    """Push a global, by the new operation, which takes dotted names."""
    return text(module) + text(attribute) + b"\x93"


def pairs(*parts: bytes) -> bytes:
    """Push a dictionary of keys and values that are pushed in turn."""
    return b"}(" + b"".join(parts) + b"u"


def call(function: bytes, *arguments: bytes) -> bytes:
    """Push what a call returns."""
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(key: str = "0", numel: int = 4, kind: bytes = name("torch", "FloatStorage"), view: bytes = b"") -> bytes:
    """Push a reference to a storage."""
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(numel) + view + b"tQ"


def tensor(size: bytes = number(1) + number(4), stride: bytes = number(4) + number(1), offset: int = 0,
           of: bytes = b"") -> bytes:
    """Push a tensor; its storage has four numbers."""
    return call(name("torch._utils", "_rebuild_tensor_v2"), of or storage(view=VIEW), number(offset),
                b"(" + size + b"t", b"(" + stride + b"t", b"\x89", call(name("collections", "OrderedDict")))


VIEW = b"%VIEW%"  # what the older format has more in a storage's reference: None


def file_of(pushed: bytes) -> bytes:
    """A pickle of an embedding file with one good word, and with what is pushed beside it."""
    return b"\x80\x02" + pairs(text("string_to_param"), pairs(text("*"), tensor()), text("x"), pushed) + b"."


# Attacks -------------------------------------------------------------------------------------------------------------

SHELL = text(f"touch {MARKER}")
STATE = pairs(text("__code__"), b"N", text("__defaults__"), SHELL + b"\x85", text("data"), b"N", text("append"), b"N",
              text("dump_patches"), b"\x88", text("__setstate__"), b"N", text("torch"), b"N")
FAMILIES: dict[str, Callable[[bytes, str, str], bytes]] = {
    "reduce": lambda live, m, n: live + SHELL + b"\x85R",
    "reduce nothing": lambda live, m, n: live + b")R",
    "reduce, then call that": lambda live, m, n: live + text(n) + b"\x85R" + SHELL + b"\x85R",
    "reduce with odd arguments": lambda live, m, n: live + pairs(text("a"), b"N") + b"R",
    "build": lambda live, m, n: live + STATE + b"b",
    "build with slots": lambda live, m, n: live + b"N" + STATE + b"\x86b",
    "build what it makes": lambda live, m, n: live + b")R" + STATE + b"b",
    "setitem": lambda live, m, n: live + text("os") + b"Ns",
    "setitems": lambda live, m, n: live + b"(" + text("os") + b"N" + text("torch") + b"Nu",
    "append": lambda live, m, n: live + SHELL + b"a",
    "appends": lambda live, m, n: live + b"(" + SHELL + SHELL + b"e",
    "additems": lambda live, m, n: live + b"(" + SHELL + b"\x90",
    "newobj": lambda live, m, n: live + SHELL + b"\x85\x81",
    "newobj, then build": lambda live, m, n: live + b")\x81" + STATE + b"b",
    "newobj_ex": lambda live, m, n: live + b")" + pairs(text("shell"), b"\x88") + b"\x92",
    "inst": lambda live, m, n: b"(" + SHELL + f"i{m}\n{n}\n".encode(),
    "obj": lambda live, m, n: b"(" + live + SHELL + b"o",
    "stack_global": lambda live, m, n: stack_name(m, n) + SHELL + b"\x85R",
    "dotted": lambda live, m, n: stack_name(m, f"{n}.__globals__") + text("os") + b"Ns",
    "memo": lambda live, m, n: live + b"q\x07" + b"0h\x07" + STATE + b"bh\x07" + SHELL + b"\x85R\x86",
    "memoized later": lambda live, m, n: live + b"\x94" + b"0h\x00" + STATE + b"b",
    "persistent module": lambda live, m, n: b"(" + text("module") + live + text(f"{MARKER}.py") + text("x") + b"tQ",
    "a module of another source": lambda live, m, n: b"(" + text("module") + live + b"N" + pairs(
        text("__name__"), text(MARKER), text("dump_patches"), b"\x88") + b"\x86b" + text("x") + text("y") + b"tQ",
    "persistent text": lambda live, m, n: f"P{m}.{n}\n".encode(),
    "persistent storage of that class": lambda live, m, n: storage(kind=live, view=VIEW),
    "persistent storage, then build": lambda live, m, n: storage(view=VIEW) + STATE + b"b",
    "a tensor of it": lambda live, m, n: tensor(of=live),
    "a tensor, then build": lambda live, m, n: tensor() + STATE + b"b",
    "a parameter of it": lambda live, m, n: call(name("torch._utils", "_rebuild_parameter"), live, b"\x88", b"N"),
    "a parameter with its state": lambda live, m, n: call(
        name("torch._utils", "_rebuild_parameter_with_state"), tensor(), b"\x88", b"N", STATE),
    "from its type": lambda live, m, n: call(name("torch._tensor", "_rebuild_from_type_v2"), live, live,
                                             SHELL + b"\x85", STATE),
    "reconstructed": lambda live, m, n: call(name("copyreg", "_reconstructor"), live, live, b"N") + STATE + b"b",
    "mapped": lambda live, m, n: call(name("collections", "OrderedDict"), b"](]" + live + b"a" + live + b"ae"),
    "a key": lambda live, m, n: pairs(live, live, live + b"\x85", live),
    "in a set": lambda live, m, n: b"\x8f(" + live + b"\x90",
    "a frozen set": lambda live, m, n: b"(" + live + b"\x91",
    "a hook": lambda live, m, n: call(name("torch._utils", "_rebuild_tensor_v2"), storage(view=VIEW), number(0),
                                      number(4) + b"\x85", number(1) + b"\x85", b"\x88", pairs(number(1), live)),
    "a ParameterDict": lambda live, m, n: name("torch.nn.modules.container", "ParameterDict") + b")\x81"
    + pairs(text("_parameters"), live, text("_keys"), live) + b"b",
    "partial": lambda live, m, n: call(call(name("functools", "partial"), live, SHELL)),
    "getattr": lambda live, m, n: call(call(name("builtins", "getattr"), live, text("__globals__"))),
    "extension": lambda live, m, n: b"\x82\x01" + SHELL + b"\x85R",
    "extensions": lambda live, m, n: b"\x84\x01\x00\x00\x00\x83\x01\x00\x86",
    "framed": lambda live, m, n: b"\x95" + struct.pack("<Q", 2**62) + live + SHELL + b"\x85R",
    "buffers": lambda live, m, n: live + b"\x97\x98\x86",
}


def doubled(start: bytes, step: bytes, times: int = 60) -> bytes:
    """Push something, then what holds it twice, and so on."""
    return start + step * times


BOMBS: dict[str, bytes] = {
    "doubled dictionaries": b"N" + (b"q\x09" + b"0}(" + text("a") + b"h\x09" + text("b") + b"h\x09u") * 60,
    "doubled lists": doubled(b"N", b"q\x090](h\x09h\x09e"),
    "doubled tuples": doubled(b"N", b"2\x86"),
    "a key of doubled tuples": b"}" + doubled(b"N", b"2\x86") + b"Ns",
    "a set of doubled tuples": b"\x8f(" + doubled(b"N", b"2\x86") + b"\x90",
    "an ordered dictionary of doubled tuples": call(
        name("collections", "OrderedDict"), b"](" + b"](" + doubled(b"N", b"2\x86") + b"Nee"),
    "deep lists": b"]" * 500_000 + b"a" * 499_999,
    "deep tuples": b")" + b"\x85" * 900_000,
    "deep dictionaries": (b"}" + text("a")) * 200_000 + b"N" + b"s" * 200_000,
    "marks": b"(" * 900_000,
    "too many operations": b"N0" * 3_000_000 + b"N",
    "a list in itself": b"]q\x09h\x09a",
    "a dictionary in itself": b"}q\x09" + text("x") + b"h\x09s",
    "a dictionary that is its own words": b"}q\x09" + text("string_to_param") + b"h\x09s",
    "a large memo index": b"Nr\xff\xff\xff\xff",
    "a memo index of many digits": b"Np" + b"9" * 4000 + b"\n",
    "a memo index that is not there": b"h\xfe",
    "a negative memo index": b"Np-5\n",
    "a long number": b"\x8b" + struct.pack("<i", 2_000_000) + b"\x7f" * 2_000_000,
    "a number of many digits": b"L" + b"9" * 1_000_000 + b"L\n",
    "a text longer than the file": b"X" + struct.pack("<I", 2**31) + b"x",
    "bytes longer than the file": b"\x8e" + struct.pack("<Q", 2**62) + b"x",
    "a byte array longer than memory": call(name("builtins", "bytearray"), number(10**12)),
    "bytes made of text a thousand times": text("x" * 1_000_000) + b"q\x080](" + (
        name("_codecs", "encode") + b"h\x08" + text("latin1") + b"\x86R") * 20_000 + b"e",
    "lists made of a list": b"](" + b"N" * 200_000 + b"eq\x080](" + (name("builtins", "list") + b"h\x08\x85R") * 20_000
    + b"e",
    "keys that take long to compare": (text("x" * 4_000_000) + b"q\x01" + b"0" + text("x" * 4_000_000) + b"q\x020")
    + b"}(" + b"h\x01Nh\x02N" * 50_000 + b"u",
    "a key that has no hash": pairs(b"]", b"N"),
    "a tensor of 10^12 numbers, expanded": tensor(number(10**6) + number(10**6), number(0) + number(0)),
    "a tensor of 2^62 numbers": tensor(number(2**31) + number(2**31), number(0) + number(0)),
    "a shape that overflows": tensor(number(2**40) * 3, number(0) * 3),
    "a negative stride": tensor(number(4) + number(1), number(-1) + number(1), 3),
    "a negative size": tensor(number(-4) + number(1), number(1) + number(1)),
    "a negative offset": tensor(offset=-1),
    "an offset outside": tensor(offset=2**40),
    "a stride outside": tensor(stride=number(2**33) + number(2**33), size=number(2) + number(2)),
    "many dimensions": tensor(number(1) * 100, number(1) * 100),
    "more strides than sizes": tensor(number(1), number(1) * 2),
    "sizes that are no numbers": tensor(text("a") + b"N", number(1) + number(1)),
    "sizes of true": tensor(b"\x88\x88", b"\x88\x88"),
    "nothing in 2^50 rows": tensor(number(2**50) + number(0), number(1) + number(1)),
    "a storage longer than the file": storage(numel=2**40, view=VIEW),
    "a storage of negative length": storage(numel=-4, view=VIEW),
    "a storage that is not there": storage("17", view=VIEW),
    "a storage with a path for a key": storage("../../data.pkl", view=VIEW),
    "a storage of two lengths": storage(view=VIEW) + storage(numel=8, view=VIEW) + b"\x86",
    "a storage of another type": storage(kind=name("torch", "DoubleStorage"), view=VIEW),
    "a view outside": storage(view=b"(" + text("v") + number(2) + number(8) + b"t"),
    "a view of nothing": storage(view=b"N\x85"),
    "a persistent id that is empty": b")Q",
    "a persistent id that is a number": number(3) + b"Q",
    "items for no key": b"}(" + text("a") + b"u",
    "a list filled as a dictionary": b"]" + text("a") + b"Ns",
    "a tensor filled as a list": tensor() + b"Na",
    "a tensor with items": tensor() + number(0) + number(1) + b"s",
    "pop of nothing": b"0000000N",
    "tuple of nothing": b"00\x87",
    "complex of text": call(name("builtins", "complex"), text("1e999999j")),
    "complex of a large number": call(name("builtins", "complex"), number(2**100), number(2**100)),
}


# Files ---------------------------------------------------------------------------------------------------------------

NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def zip_file(program: bytes) -> bytes:
    """As torch.save writes it since 1.6."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for record, data in (("data.pkl", program.replace(VIEW, b"")), ("byteorder", b"little"), ("version", b"3\n"),
                             ("data/0", NUMBERS)):
            archive.writestr(f"archive/{record}", data)
    return buffer.getvalue()


def legacy_file(program: bytes) -> bytes:
    """As torch.save wrote it before."""
    front = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return (b"".join(pickle.dumps(part, 2) for part in front) + program.replace(VIEW, b"N") + pickle.dumps(["0"], 2)
            + struct.pack("<q", 4) + NUMBERS)


def bare_file(program: bytes) -> bytes:
    """A pickle and nothing else."""
    return program.replace(VIEW, b"")


FORMS: dict[str, Callable[[bytes], bytes]] = {"zip": zip_file, "legacy": legacy_file, "bare": bare_file}


@functools.cache
def archives() -> dict[str, bytes]:
    """Zip archives and others that are hostile themselves."""
    good = file_of(b"N").replace(VIEW, b"")

    def archive(*records: tuple[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compress) as file:
            for record, data in records:
                file.writestr(record, data)
        return buffer.getvalue()

    plain = archive(("a/data.pkl", good), ("a/data/0", NUMBERS))
    directory = plain.rindex(b"PK\x01\x02")
    end = plain.rindex(b"PK\x05\x06")
    entry = plain[directory:end]
    many = plain[:directory] + entry * 300_000 + plain[end:end + 12] + struct.pack("<II", len(entry) * 300_000,
                                                                                 directory) + b"\0\0"
    header = b'{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    return {
        "a zip bomb": archive(("a/data.pkl", b"\0" * 300_000_000), compress=zipfile.ZIP_DEFLATED),
        "compressed": archive(("a/data.pkl", good), ("a/data/0", NUMBERS), compress=zipfile.ZIP_DEFLATED),
        "two pickles": archive(("a/data.pkl", good), ("b/data.pkl", good)),
        "a pickle above": archive(("../data.pkl", good), ("../data/0", NUMBERS)),
        "TorchScript": archive(("a/data.pkl", good), ("a/constants.pkl", good), ("a/code/x.py", b"import os")),
        "no storage": archive(("a/data.pkl", good)),
        "a short storage": archive(("a/data.pkl", good), ("a/data/0", NUMBERS[:7])),
        "byteorder": archive(("a/data.pkl", good), ("a/data/0", NUMBERS), ("a/byteorder", b"\xff\xfe")),
        "300,000 entries": many,
        "an entry outside": plain[:directory] + entry[:42] + b"\xff\xff\xff\x7f" + entry[46:] + plain[end:],
        "a directory of 4 GB": plain[:end + 12] + b"\xfe\xff\xff\xff" + plain[end + 16:],
        "a safetensors header longer than the file": struct.pack("<Q", 2**31) + header,
        "a safetensors tensor longer than the file": struct.pack("<Q", len(header)) + header,
        "a safetensors header of brackets": struct.pack("<Q", 4_000_000) + b"{" + b'"a":{' * 799_999 + b"    ",
        "legacy without its end": legacy_file(good)[:-30],
        "legacy with a long storage": legacy_file(file_of(b"N"))[:-24] + struct.pack("<q", 2**61) + NUMBERS,
        "legacy with other keys": legacy_file(file_of(b"N"))[:-24].replace(pickle.dumps(["0"], 2),
                                                                          pickle.dumps([[], {}], 2)) + NUMBERS * 9,
        "legacy whose front is hostile": name("os", "system") + SHELL + b"\x85R." + legacy_file(file_of(b"N")),
    }


def cases(seed: int) -> list[tuple[str, bytes]]:
    """All hostile files, in an order that has every family and every form in its first few hundred."""
    shuffle = random.Random(seed)
    found = [(f"archive: {n}", data) for n, data in archives().items()]
    found += [(f"{form}: {n}", build(file_of(program))) for n, program in BOMBS.items() for form, build in
              FORMS.items() if form != "bare"]
    rounds = []
    for i in range(len(LIVE)):
        for f, (family, attack) in enumerate(FAMILIES.items()):
            module, attribute = LIVE[(i + 7 * f + seed) % len(LIVE)]
            program = file_of(attack(name(module, attribute), module, attribute))
            form = [*FORMS][(i + f) % 5 % 3]  # mostly the two that torch.save writes
            rounds.append((f"{form}: {family}, {module}.{attribute}", FORMS[form](program)))
    first, rest = rounds[: 4 * len(FAMILIES)], rounds[4 * len(FAMILIES):]
    shuffle.shuffle(rest)
    return found + first + rest


# Trials --------------------------------------------------------------------------------------------------------------

def live_objects() -> list[Any]:
    """The objects that LIVE names, as far as there are such, and their modules."""
    found: list[Any] = []
    for module, attribute in LIVE:
        try:
            thing = importlib.import_module(module)
            found.append(thing)
            for part in attribute.split("."):
                thing = getattr(thing, part)
            found.append(thing)
        except (ImportError, AttributeError):
            continue
    return found


READERS: tuple[Callable[[Path], Any], ...] = (read_tensors, read_embeddings, read_state_dict)


def run(seed: int = 0, count: int = COUNT) -> tuple[int, int, list[str]]:
    """(good, total, failures) of so many hostile files, each read three ways."""
    watched = [thing for thing in live_objects() if thing is not sys.modules]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file.pt")
        write_tensors(file, {"*": torch.ones(4)})
        for read in READERS:
            read(file)  # what is imported late is imported now
        for codec in ("cp437", "utf-8-sig", "raw-unicode-escape", "latin-1"):
            codecs.lookup(codec)
        failures, trials = [], cases(seed)[:count]
        for title, data in trials:
            file.write_bytes(data)
            if wrong := trial([functools.partial(read, file) for read in READERS], Path(folder), watched):
                failures.append(f"{title}: {wrong.strip().splitlines()[-1]}")
    return len(trials) - len(failures), len(trials), failures
