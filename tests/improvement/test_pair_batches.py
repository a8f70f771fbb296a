"""Batches of pairs from files of any size."""

from collections import Counter
from itertools import islice
from types import SimpleNamespace

import pytest

from improvement.v2.pair_batches import PairBatches
from improvement.v2.sentences import Pair, stream_pairs
from ldm.errors import UserError


@pytest.fixture
def files(tmp_path):
    """60 pairs in a CSV file and 20 in a TSV file, with gaps."""
    a, b = tmp_path / "a.csv", tmp_path / "b.tsv"
    a.write_text("ko,en\n" + "".join(f"{'가' * (i % 9)} {i},a {i}\n" for i in range(60)))
    b.write_text("ko\ten\tgaps\n" + "".join(f"나 {i}\tb {i}\t나|{i}\n" for i in range(20)))
    return {a: 60, b: 20}


def batches(files, step=0, rank=0, world_size=1, held=frozenset()):
    trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=world_size)
    return PairBatches(files, held, 8, 0, trainer)


def test_every_pair_comes_once_a_round_and_held_ones_never(files):
    held = frozenset((0, 5, 79))
    seen = Counter(pair.en for batch in islice(batches(files, held=held), 9) for pair in batch)
    assert len(seen) == 72 and set(seen.values()) == {1} and not {"a 0", "a 5", "b 19"} & set(seen)


def test_a_run_goes_on_where_it_was_and_processes_share(files):
    all_of_them = list(islice(batches(files), 30))
    assert list(islice(batches(files, step=12), 10)) == all_of_them[12:22]
    assert list(islice(batches(files, step=3, rank=1, world_size=2), 5)) == all_of_them[7:17:2]


def test_few_pairs_fill_a_batch(tmp_path):
    (tmp_path / "few.csv").write_text("ko,en\n가,a\n나,b\n다,c\n")
    assert [len(batch) for batch in islice(batches({tmp_path / "few.csv": 3}), 3)] == [8, 8, 8]


def test_pairs_are_streamed(files, tmp_path):
    read = list(stream_pairs(*files))
    assert read[0] == Pair("0", "a 0") and read[-1] == Pair("나 19", "b 19", ("나", "19")) and len(read) == 80
    (tmp_path / "bad.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="needs columns ko and en"):
        next(stream_pairs(tmp_path / "bad.csv"))
