"""Files of torch.save, old and new: all tensors as they went in, and damaged ones refused."""

import copy
import io
import pickle
import re
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch

from ldm import torchfile
from ldm.errors import UserError
from ldm.serialization import read_tensors
from ldm.torchfile import read_legacy, read_zip

torch.manual_seed(0)
BASE = torch.randn(40)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool, torch.complex64)
TENSORS = {
    **{str(dtype): (torch.randn(3, 5) * 9).to(dtype) for dtype in DTYPES}, "view": BASE[3:9], "again": BASE[3:9],
    "strided": BASE[::3], "transposed": torch.randn(4, 6).T, "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4),
    "expanded": torch.randn(1, 3).expand(5, 3), "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    "odd": torch.arange(7, dtype=torch.uint8), "after odd": torch.randn(3, dtype=torch.float64),
}


@pytest.mark.parametrize("new, protocol", [(True, p) for p in range(2, 6)] + [(False, p) for p in range(1, 6)])
def test_tensors_come_out_as_they_went_in(tmp_path, new, protocol):
    file = tmp_path / "file.ckpt"
    torch.save({"tensors": TENSORS, "epoch": 3}, file, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    content = (read_zip if new else read_legacy)(file)
    assert content["epoch"] == 3 and list(content["tensors"]) == list(TENSORS)
    for name, tensor in TENSORS.items():
        found = content["tensors"][name]
        assert type(found) is torch.Tensor and found.dtype == tensor.dtype and found.shape == tensor.shape, name
        assert torch.equal(found, tensor) and not found.requires_grad, name
    views = [content["tensors"][name] for name in ("view", "again", "strided")]
    assert len({v.untyped_storage().data_ptr() for v in views}) == 1, "views of one storage still are"


@pytest.mark.parametrize("new, protocol", [(True, 2), (True, 4), (False, 1), (False, 2)])
def test_a_parameter_dict_is_a_dictionary(tmp_path, new, protocol):
    words = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 3)), "&": torch.nn.Parameter(BASE[:3])})
    torch.save({"words": words}, tmp_path / "a.pt", _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    found = (read_zip if new else read_legacy)(tmp_path / "a.pt")["words"]
    assert type(found) is dict and list(found) == list(words)
    assert all(torch.equal(found[p], v) for p, v in words.items())


def test_large_tensors_are_mapped(tmp_path):
    torch.save({"w": torch.randn(1 << 18)}, tmp_path / "file.ckpt")
    before = torch.load(tmp_path / "file.ckpt", weights_only=True)["w"]
    found = read_zip(tmp_path / "file.ckpt")["w"]
    assert torch.equal(found, before)
    content = bytearray((tmp_path / "file.ckpt").read_bytes())
    position = content.index(before.numpy().tobytes()[:64])
    with open(tmp_path / "file.ckpt", "r+b") as file:  # what changes in the file changes in the tensor
        file.seek(position)
        file.write(struct.pack("<f", 42.0))
    assert float(found[0]) == 42.0
    found[1] = 7.0
    assert struct.unpack("<f", (tmp_path / "file.ckpt").read_bytes()[position + 4:position + 8])[0] != 7.0, "not back"


def rezip(path, change, compress=zipfile.ZIP_STORED):
    """The archive with its records {name: bytes} changed."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


@pytest.fixture
def saved(tmp_path):
    torch.save({"w": torch.arange(6.0), "v": torch.arange(3, dtype=torch.int16)}, tmp_path / "file.ckpt")
    return tmp_path / "file.ckpt"


def test_an_archive_that_was_packed_anew_is_read(saved):
    rezip(saved, lambda records: None)
    assert torch.equal(read_zip(saved)["w"], torch.arange(6.0)), "whatever lies between its records"


def test_numbers_of_a_machine_of_the_other_byte_order(saved):
    other = "big" if sys.byteorder == "little" else "little"

    def swap(records):
        for name in records:
            if name.endswith("byteorder"):
                records[name] = other.encode()
            if name.endswith("data/0"):
                records[name] = np.arange(6, dtype=">f4").tobytes()
            if name.endswith("data/1"):
                records[name] = np.arange(3, dtype=">i2").tobytes()
    rezip(saved, swap)
    content = read_zip(saved)
    assert torch.equal(content["w"], torch.arange(6.0)) and content["v"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("change, error, match", [
    (lambda r: r.update({n: b"" for n in r if n.endswith("data/0")}), pickle.UnpicklingError, "another length"),
    (lambda r: r.update({n: r[n] + b"more" for n in r if n.endswith("data/0")}), pickle.UnpicklingError,
     "another length"),
    (lambda r: [r.pop(n) for n in list(r) if n.endswith("data/0")], KeyError, "data/0"),
    (lambda r: [r.pop(n) for n in list(r) if n.endswith("data.pkl")], UserError, "a zip archive without tensors"),
    (lambda r: r.update({f"{n}x/data.pkl": b"" for n in list(r)[:1]} | {"other/data.pkl": b""}), UserError,
     "a zip archive without tensors"),
    (lambda r: r.update({next(iter(r)).partition("/")[0] + "/constants.pkl": b""}), UserError, "a TorchScript archive"),
])
def test_archives_that_are_no_checkpoints(saved, change, error, match):
    rezip(saved, change)
    with pytest.raises(error, match=match):
        read_zip(saved)


def test_records_are_not_compressed(saved):
    rezip(saved, lambda records: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(pickle.UnpicklingError, match="compressed"):
        read_zip(saved)


def test_records_have_a_limit(saved, monkeypatch):
    size = len(zipfile.ZipFile(saved).read("file/data.pkl"))
    monkeypatch.setattr(torchfile, "MAX_PICKLE", size)
    read_zip(saved)
    monkeypatch.setattr(torchfile, "MAX_PICKLE", size - 1)
    with pytest.raises(pickle.UnpicklingError, match="data.pkl is too long"):
        read_zip(saved)
    monkeypatch.undo()
    monkeypatch.setattr(torchfile, "MAX_DIRECTORY", 100)
    with pytest.raises(pickle.UnpicklingError, match="list of contents is too long"):
        read_zip(saved)


def test_a_small_file_has_no_many_tensors(tmp_path):
    """Forty records that lie in one place would be much memory from a few bytes."""
    torch.save({str(i): torch.full((1000,), float(i)) for i in range(40)}, tmp_path / "whole.ckpt")
    assert len(read_zip(tmp_path / "whole.ckpt")) == 40
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as whole, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as bomb:
        for name in ("data.pkl", "data/0"):
            bomb.writestr(f"bomb/{name}", whole.read(f"whole/{name}"))
        for i in range(1, 40):
            twin = copy.copy(bomb.NameToInfo["bomb/data/0"])
            twin.filename = f"bomb/data/{i}"
            bomb.filelist.append(twin)
    with pytest.raises(pickle.UnpicklingError, match="longer than the file"):
        read_zip(tmp_path / "bomb.ckpt")


# The older format ----------------------------------------------------------------------------------------------------

def legacy(content, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False, **options)
    return buffer.getvalue()


def read_back(tmp_path, content: bytes):
    (tmp_path / "file.pt").write_bytes(content)
    return read_legacy(tmp_path / "file.pt")


def test_damaged_files_of_the_older_format(tmp_path):
    content = legacy({"w": torch.arange(6.0), "v": torch.arange(3)})
    assert torch.equal(read_back(tmp_path, content)["v"], torch.arange(3))
    for cut in (1, 10, 40, 49):
        with pytest.raises(pickle.UnpicklingError, match="longer than the file"):
            read_back(tmp_path, content[:-cut])
    for end in (30, 60, 150):
        with pytest.raises(Exception, match=".") as error:  # whatever a parser trips over
            read_back(tmp_path, content[:end])
        assert not isinstance(error.value, UserError)
    wrong = bytearray(content)
    wrong[keys_of(content)[1]] += 1  # the first storage's length
    with pytest.raises(pickle.UnpicklingError, match="another length"):
        read_back(tmp_path, bytes(wrong))


def test_storages_have_one_length_each_and_none_is_longer_than_the_file(tmp_path):
    numbers = torch.arange(6.0)
    content = legacy({"w": numbers, "v": numbers[2:4]})
    first, second = (m.start() for m in re.finditer(b"K\x06Nt", content))
    assert read_back(tmp_path, content)["v"].tolist() == [2, 3]
    with pytest.raises(pickle.UnpicklingError, match="has several lengths"):
        read_back(tmp_path, content[:second] + b"K\x05" + content[second + 2:])
    for count in (b"J\xff\xff\xff\x7f", b"M\xff\xff"):  # no memory is taken for what is not there
        with pytest.raises(pickle.UnpicklingError, match="storages that are longer than the file"):
            read_back(tmp_path, content[:first] + count + content[first + 2:])


@pytest.mark.parametrize("numbers", [(1, 1001), (torchfile.MAGIC_NUMBER, 1000), ("x", 1001)])
def test_a_pickle_of_pythons_own(tmp_path, numbers):
    with pytest.raises(UserError, match="a pickle of Python's own"):
        read_back(tmp_path, b"".join(pickle.dumps(n, 2) for n in numbers))


def test_the_keys_at_the_end_are_those_of_the_tensors(tmp_path):
    content = legacy({"w": torch.arange(6.0)})
    (key,), _ = keys_of(content)
    for keys in ([], [key, key], [key, "other"], ["other"], {key: 1}, key):
        with pytest.raises(pickle.UnpicklingError, match="do not belong to the tensors"):
            read_back(tmp_path, content.replace(pickle.dumps([key], 2), pickle.dumps(keys, 2)))
    assert torch.equal(read_back(tmp_path, content)["w"], torch.arange(6.0))


def keys_of(content: bytes) -> tuple[list[str], int]:
    """The keys of the storages, and where the first storage begins."""
    file = io.BytesIO(content[content.rindex(b"\x80\x02]q"):])
    return pickle.load(file), content.rindex(b"\x80\x02]q") + file.tell()


def test_views_that_leave_their_storage(tmp_path):
    """(root key, offset, size) behind a reference, as torch before 0.4 wrote it."""
    content = legacy({"w": torch.arange(6.0)})
    none, (key,) = content.index(b"Nt"), keys_of(content)[0]  # where the reference says that it is no view
    for view, expected in (((key, 2, 4), None), ((key, 0, 6), [0, 1, 2, 3, 4, 5]), ((key, 3, 4), "leaves"),
                           ((key, -1, 2), "leaves"), ((key, "0", 2), "leaves"), ((key, 0, -1), "leaves")):
        changed = content[:none] + pickle.dumps(view, 2)[2:-1] + content[none + 1:]
        if expected == "leaves":
            with pytest.raises(pickle.UnpicklingError, match="leaves its storage"):
                read_back(tmp_path, changed)
        elif expected is None:
            with pytest.raises(pickle.UnpicklingError, match="does not fit its storage of 4"):
                read_back(tmp_path, changed)
        else:
            assert read_back(tmp_path, changed)["w"].tolist() == expected


def test_the_reader_takes_both(tmp_path):
    for new in (True, False):
        torch.save({"w": torch.ones(2)}, tmp_path / "file.pt", _use_new_zipfile_serialization=new)
        assert torch.equal(read_tensors(tmp_path / "file.pt")["w"], torch.ones(2))
