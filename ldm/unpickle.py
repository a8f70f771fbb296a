"""Pickles, read without Python's unpickler: out come plain containers and tensors, and `Inert` in place of all else.

A pickle is a program for a small stack machine; pickletools, which only takes programs apart, names its operations.
The machine here makes its own objects and looks nothing up: no import, no call, no attribute. So there is nothing of
Python, torch or this project that a file could reach or change. Nor can a short program make much: each step and each
item copied counts, keys are small, and a tensor fits its storage.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

MAX_STEPS = 500_000        # a checkpoint of 1,400 tensors takes 45,000
MAX_KEY = 1024             # letters of a dictionary's key
MAX_INT_BITS = 256
MAX_DIMENSIONS = 16
MAX_EXPANDED = 2**20       # numbers of a tensor that uses its storage's more than once (Tensor.expand)


class Inert:
    """Stands for whatever else a pickle names, makes or calls: it has that thing's name and does nothing."""

    __slots__ = ("module", "name")

    def __init__(self, module: str = "", name: str = "") -> None:
        self.module, self.name = module, name


class Storage:
    """The numbers that tensors are views of: bytes, and the type they were stored as."""

    __slots__ = ("data", "dtype")

    def __init__(self, data: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.data, self.dtype = data, dtype


# (key, dtype, number of elements, view or None) -> the storage of that key: where a file keeps it is the file's affair.
FindStorage = Callable[[str, torch.dtype, int, Any], Storage]

STORAGES = {
    **{f"{name}Storage": dtype for name, dtype in {
        "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16, "Double": torch.float64,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
        "QInt8": torch.int8, "QUInt8": torch.uint8, "QInt32": torch.int32}.items()},
    "UntypedStorage": torch.uint8,
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (
    *STORAGES.values(), torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)}

LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # Python 2's, of bytes
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NOTHING = {"PROTO", "FRAME"}


class Machine:
    """Runs pickles. Raises UnpicklingError, or what Python raises, for one that is damaged or asks for too much."""

    def __init__(self, find_storage: FindStorage | None = None) -> None:
        self.find_storage = find_storage
        self.steps = MAX_STEPS
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []                    # the stacks below the open marks
        self.memo: dict[int, Any] = {}
        self.parameter_dicts: dict[int, dict[Any, Any]] = {}  # by id: dictionaries that were a ParameterDict

    def run(self, file: BinaryIO) -> Any:
        """The object that the pickle at a file's position makes; the position is behind it then."""
        for operation, argument, _ in pickletools.genops(file):
            self.spend(1)
            name = operation.name
            if name in LITERALS:
                if type(argument) is int and argument.bit_length() > MAX_INT_BITS:
                    raise UnpicklingError("a number of too many digits")
                self.stack.append(argument)
            elif name not in NOTHING and name != "STOP":
                self._step(name, argument)
        return self.stack.pop()

    def spend(self, steps: int) -> None:
        """Count work. Raises UnpicklingError when there was too much of it."""
        self.steps -= steps
        if self.steps < 0:
            raise UnpicklingError("a pickle of too many steps")

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in STRINGS:
            stack.append(_text(argument))
        elif name == "MEMOIZE" or name.endswith("PUT"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name == "POP_MARK" or (name == "POP" and not stack):
            self._pop_mark()
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in TUPLES:
            items = stack[-TUPLES[name]:]
            if len(items) < TUPLES[name]:
                raise UnpicklingError("a tuple of things that are not there")
            stack[-TUPLES[name]:] = [tuple(items)]
        elif not self._containers(name) and not self._objects(name, argument):
            raise UnpicklingError(f"the operation {name}, which no checkpoint has")

    def _containers(self, name: str) -> bool:
        """Make or fill a container; False for other operations."""
        if name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
            self.stack.append({"L": list, "D": dict, "S": set}[name[6]]())
        elif name in ("LIST", "TUPLE", "DICT", "FROZENSET"):
            items = self._pop_mark()
            self.stack.append(tuple(items) if name == "TUPLE" else items if name == "LIST" else
                              frozenset(map(key_of, items)) if name == "FROZENSET" else _pairs(items))
        elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
            if name in ("APPEND", "SETITEM"):
                count = 1 if name == "APPEND" else 2
                items, self.stack[-count:] = self.stack[-count:], []
            else:
                items = self._pop_mark()
            self._fill(list if name.startswith("APPEND") else dict if name.startswith("SETITEM") else set, items)
        else:
            return False
        return True

    def _fill(self, kind: type, items: list[Any]) -> None:
        target: Any = self.stack[-1]
        if isinstance(target, Inert):  # a subclass of list, dict or set
            return
        if not isinstance(target, kind):  # all containers here are of Python's own types
            raise UnpicklingError(f"{type(target).__name__} filled as a {kind.__name__}")
        entries: Any = _pairs(items) if kind is dict else map(key_of, items) if kind is set else items
        if isinstance(target, list):
            target.extend(entries)
        elif isinstance(target, dict | set):
            target.update(entries)

    def _objects(self, name: str, argument: Any) -> bool:
        """What would import, call or change an object; False for other operations."""
        if name == "GLOBAL":
            self.stack.append(Inert(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            module, attribute = self.stack[-2:]
            self.stack[-2:] = [Inert(str_or_nothing(module), str_or_nothing(attribute))]
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            if name == "NEWOBJ_EX":
                self.stack.pop()  # keyword arguments
            arguments, function = self.stack.pop(), self.stack.pop()
            self.stack.append(self.make(function, arguments))
        elif name == "INST":
            arguments = tuple(self._pop_mark())  # first: it changes which stack is the current one
            self.stack.append(self.make(Inert(*argument.split(" ", 1)), arguments))
        elif name == "OBJ":
            function, *rest = self._pop_mark()
            self.stack.append(self.make(function, tuple(rest)))
        elif name == "BUILD":
            self._build(self.stack.pop(), self.stack[-1])
        elif name == "BINPERSID":
            self.stack.append(self._referred(self.stack.pop()))
        else:
            return False
        return True

    def make(self, function: Any, arguments: Any) -> Any:
        """What stands for function(*arguments): a container or a tensor where MAKERS knows the name, else an Inert."""
        if type(function) is not Inert or type(arguments) is not tuple:
            return Inert()
        maker = MAKERS.get((function.module, function.name))
        made = maker(self, *arguments) if maker else None
        return Inert(function.module, function.name) if made is None else made

    def _build(self, state: Any, target: Any) -> None:
        """State of an object: that of a ParameterDict are its tensors, all other is left out."""
        made = self.parameter_dicts.get(id(target))
        if made is None or made is not target or type(state) is not dict:
            return
        entries = [state.get("_parameters"), state.get("_keys")]
        parameters, names = [e if type(e) is dict else {} for e in entries]
        self.spend(len(parameters) + len(names))
        made.update({k: v for k, v in parameters.items() if torch.is_tensor(v)})
        # torch 1.12 and later keeps the entries as attributes, and their names in _keys
        made.update({k: state[k] for k in names if torch.is_tensor(state.get(k))})

    def _referred(self, reference: Any) -> Any:
        """What a persistent id stands for. ("storage", class, key, device, number of elements), with a view of it in
        the older format: that storage. ("module", class, file, source), in the older format: the class's name."""
        if type(reference) is tuple and len(reference) == 4 and _text(reference[0]) == "module":
            return reference[1] if isinstance(reference[1], Inert) else Inert()
        if type(reference) is not tuple or len(reference) not in (5, 6) or _text(reference[0]) != "storage":
            raise UnpicklingError("a persistent id that is not a storage's")
        _, kind, key, _, numel, *view = reference
        dtype = STORAGES.get(kind.name) if type(kind) is Inert else None
        key = _text(str(key) if type(key) is int else key)
        if dtype is None or type(key) is not str or len(key) > MAX_KEY or not _counts((numel,)):
            raise UnpicklingError("a storage of no known kind")
        if self.find_storage is None:
            raise UnpicklingError("a storage where there is none")
        return self.find_storage(key, dtype, numel, view[0] if view else None)


def key_of(value: Any) -> Any:
    """A dictionary's key or a set's item, if it is small and takes no time to compare; else something in its place."""
    if type(value) is tuple and len(value) <= MAX_DIMENSIONS and not any(type(v) is tuple for v in value):
        return tuple(map(key_of, value))
    small = type(value) in (float, bool, type(None), Inert) or (
        len(value) <= MAX_KEY if type(value) in (str, bytes) else type(value) is int and value.bit_length() < 64)
    return value if small else Inert("", "key")


def str_or_nothing(value: Any) -> str:
    """A name, or none where the pickle has something else for one."""
    return value if type(value) is str else ""


def _text(value: Any) -> Any:
    """Python 2's strings of bytes, which pickletools reads as Latin-1, as text in UTF-8 where they are that."""
    try:
        if type(value) is bytes:
            return value.decode()
        return value if type(value) is not str or value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {key_of(k): v for k, v in zip(items[::2], items[1::2], strict=True)}


def _counts(values: Any) -> bool:
    return all(type(v) is int and 0 <= v < 2**60 for v in values)


# What stands for a call: from its arguments the thing it would make, or None for an Inert.

def _mapping(machine: Machine, items: Any = (), *rest: Any) -> dict[Any, Any]:
    items = list(items.items()) if type(items) is dict else items if type(items) is list else []
    machine.spend(len(items))
    return {key_of(key): value for key, value in items}


def _collection(kind: Callable[[Any], Any]) -> Callable[..., Any]:
    def make(machine: Machine, items: Any = (), *rest: Any) -> Any:
        if type(items) not in (list, tuple, set, frozenset):
            return None
        machine.spend(len(items))
        return kind(items) if kind in (list, tuple) else kind(map(key_of, items))
    return make


def _bytes(kind: Callable[[bytes], Any]) -> Callable[..., Any]:
    def make(machine: Machine, data: Any = b"", *rest: Any) -> Any:
        if type(data) not in (str, bytes):
            return None
        machine.spend(len(data) // 256)
        return kind(data.encode("latin-1") if type(data) is str else data)
    return make


def _complex(machine: Machine, real: Any = 0, imaginary: Any = 0) -> Any:
    return complex(real, imaginary) if {type(real), type(imaginary)} <= {int, float} else None


def _tensor(machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
    """torch._utils._rebuild_tensor, and _v2 with requires_grad, hooks and metadata."""
    return _view(storage, storage.dtype, offset, size, stride) if _plain(storage, rest[2:]) else None


def _tensor_v3(machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any,
               dtype: Any, *rest: Any) -> Any:
    known = DTYPES.get(dtype.name) if type(dtype) is Inert and dtype.module == "torch" else None
    return _view(storage, known, offset, size, stride) if known and _plain(storage, rest) else None


def _plain(storage: Any, metadata: tuple[Any, ...]) -> bool:
    """Whether what a tensor is rebuilt from is a storage, to be taken as it is: not conjugated, not negated."""
    return type(storage) is Storage and not any(type(m) is not dict or len(m) for m in metadata if m is not None)


def _view(storage: Storage, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    if not all(type(s) is tuple and len(s) <= MAX_DIMENSIONS and _counts(s) for s in (size, stride, (offset,))):
        raise UnpicklingError("a tensor whose shape is no shape")
    held, numel = storage.data.nbytes() // dtype.itemsize, math.prod(size)
    if numel == 0:
        return torch.empty(size, dtype=dtype, device="cpu")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= held or numel > max(held, MAX_EXPANDED):
        raise UnpicklingError(f"a tensor of shape {list(size)} does not fit its storage of {held} numbers")
    return torch.empty(0, dtype=dtype, device="cpu").set_(storage.data, offset, size, stride)


def _parameter(machine: Machine, data: Any = None, *rest: Any) -> Any:
    return data if torch.is_tensor(data) else None


def _from_type(machine: Machine, function: Any, kind: Any, arguments: Any, *rest: Any) -> Any:
    """A tensor with attributes, or of a subclass: the tensor."""
    if type(function) is Inert and function.name.startswith("_rebuild_from_type"):
        return None  # once is enough
    made = machine.make(function, arguments)
    return made if torch.is_tensor(made) else None


def _parameter_dict(machine: Machine, *rest: Any) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    machine.parameter_dicts[id(made)] = made
    return made


def _reconstructor(machine: Machine, kind: Any = None, *rest: Any) -> Any:
    """How pickles of protocols 0 and 1 make an object."""
    return machine.make(kind, ()) if type(kind) is Inert and kind.name == "ParameterDict" else None


MAKERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _mapping, ("collections", "Counter"): _mapping,
    ("collections", "defaultdict"): _mapping,
    **{(module, kind.__name__): _collection(kind) for module in ("builtins", "__builtin__")
       for kind in (list, tuple, set, frozenset)},
    **{(module, "bytearray"): _bytes(bytearray) for module in ("builtins", "__builtin__")},
    **{(module, "complex"): _complex for module in ("builtins", "__builtin__")},
    ("_codecs", "encode"): _bytes(bytes), ("torch", "Size"): _collection(tuple),
    ("copyreg", "_reconstructor"): _reconstructor, ("copy_reg", "_reconstructor"): _reconstructor,
    ("torch._utils", "_rebuild_tensor"): _tensor, ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    **{("torch._utils", f"_rebuild_parameter{state}"): _parameter for state in ("", "_with_state")},
    ("torch.nn.parameter", "Parameter"): _parameter, ("torch.nn", "Parameter"): _parameter,
    **{(module, f"_rebuild_from_type{version}"): _from_type for module in ("torch._tensor", "torch.tensor")
       for version in ("", "_v2")},
    ("torch.nn.modules.container", "ParameterDict"): _parameter_dict,
}
