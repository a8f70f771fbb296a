"""The two formats of torch.save: where each keeps its pickle and the numbers of its tensors."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ldm.errors import UserError
from ldm.unpickle import Machine, Storage

MAX_PICKLE = 2**26      # bytes; the 1,400 tensors of the published model take 200,000
MAX_DIRECTORY = 2**23   # bytes of a zip archive's list of what is in it, about 100,000 tensors
MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the older format


class _SmallReads(io.FileIO):
    """A file that zipfile reads the list of contents from, unless that is too long."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise UnpicklingError("a zip archive whose list of contents is too long")
        return super().read(-1 if size is None else size)


class _Bytes:
    """A file's bytes, mapped into memory: parts of it are there once they are used."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self.mapped = torch.UntypedStorage.from_file(str(path), False, self.size)
        self.left = self.size

    def part(self, start: int, size: int) -> torch.UntypedStorage:
        """So many bytes from `start` on. Raises UnpicklingError for bytes that are not there, and when more is asked
        for in all than the file has."""
        self.left -= size
        if start < 0 or start + size > self.size or self.left < 0:
            raise UnpicklingError("storages that are longer than the file")
        part = self.mapped[start: start + size]
        return part.clone() if start % 8 else part


def read_zip(path: Path) -> Any:
    """The object in a file as torch.save writes it since torch 1.6: a zip archive of a pickle and its storages."""
    data, storages = _Bytes(path), dict[str, Storage]()
    with _SmallReads(path) as file, zipfile.ZipFile(file) as archive:
        records = archive.NameToInfo
        pickles = [name for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
        root = pickles[0].removesuffix("data.pkl") if len(pickles) == 1 else ""
        if not root or f"{root}constants.pkl" in records:
            what = "a TorchScript archive" if root else "a zip archive without tensors of PyTorch"
            raise UserError(f"{path}: {what}, not a checkpoint")

        def position(name: str) -> tuple[int, int]:
            """Where the bytes of a record begin, and how many they are."""
            record = records[name]
            file.seek(record.header_offset)
            header = file.read(30)
            if record.compress_type or len(header) < 30 or header[:4] != b"PK\x03\x04":
                raise UnpicklingError(f"the record {name} is compressed or has no header")
            lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            return record.header_offset + 30 + lengths, record.file_size

        def content(name: str) -> bytes:
            start, size = position(name)
            if size > MAX_PICKLE:
                raise UnpicklingError(f"the record {name} is too long")
            file.seek(start)
            return file.read(min(size, MAX_DIRECTORY)) + file.read(max(size - MAX_DIRECTORY, 0))

        foreign = f"{root}byteorder" in records and content(f"{root}byteorder").decode() != sys.byteorder

        def find_storage(key: str, dtype: torch.dtype, numel: int, view: Any) -> Storage:
            if key not in storages:
                start, size = position(f"{root}data/{key}")
                storage = data.part(start, size) if size else torch.UntypedStorage(0)
                if foreign:
                    storage = storage.clone()
                    storage.byteswap(dtype)
                storages[key] = Storage(storage, dtype)
            if storages[key].data.nbytes() != numel * dtype.itemsize or view is not None:
                raise UnpicklingError(f"the storage {key} has another length than its tensors say")
            return storages[key]

        return Machine(find_storage).run(io.BytesIO(content(f"{root}data.pkl")))


def read_legacy(path: Path) -> Any:
    """The object in a file of torch.save's older format: pickles of a magic number, of the format's version, of the
    machine it was written on, of the object and of its storages' keys; then the storages, each behind its length."""
    data, storages = _Bytes(path), dict[str, Storage]()

    def find_storage(key: str, dtype: torch.dtype, numel: int, view: Any) -> Storage:
        size = numel * dtype.itemsize
        if key not in storages:
            data.left -= size
            if data.left < 0:
                raise UnpicklingError("storages that are longer than the file")
            storages[key] = Storage(torch.UntypedStorage(size), dtype)  # filled below
        storage = storages[key].data
        if storage.nbytes() != size:
            raise UnpicklingError(f"the storage {key} has several lengths")
        if view is None:
            return storages[key]
        _, first, count = view
        if type(first) is not int or type(count) is not int or not 0 <= first <= first + count <= numel:
            raise UnpicklingError(f"a view that leaves its storage {key}")
        return Storage(storage[first * dtype.itemsize: (first + count) * dtype.itemsize], dtype)

    with path.open("rb") as file:
        head = io.BytesIO(file.read(MAX_PICKLE))
    if Machine().run(head) != MAGIC_NUMBER or Machine().run(head) != PROTOCOL_VERSION:
        raise UserError(f"{path}: a pickle of Python's own, not a checkpoint; torch.save and safetensors write those")
    Machine().run(head)
    content = Machine(find_storage).run(head)
    keys = Machine().run(head)
    if type(keys) is not list or len(keys) != len(storages) or {*map(str, keys)} != {*storages}:
        raise UnpicklingError("storages that do not belong to the tensors")
    offset, data.left = head.tell(), data.size
    for key in map(str, keys):
        storage = storages[key]
        size = storage.data.nbytes()
        count = bytes(data.part(offset, 8).tolist())
        if int.from_bytes(count, "little") * storage.dtype.itemsize != size:
            raise UnpicklingError(f"the storage {key} has another length than its tensors say")
        if size:
            storage.data.copy_(data.part(offset + 8, size))
        offset += 8 + size
    return content
