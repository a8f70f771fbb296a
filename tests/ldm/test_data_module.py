"""The order in which training sees the pictures."""

from ldm.data.data_module import DataModuleFromConfig, PositionSampler


class At:
    """A trainer at some step."""

    accumulate_grad_batches = 1

    def __init__(self, global_step=0, global_rank=0, world_size=1):
        self.global_step, self.global_rank, self.world_size = global_step, global_rank, world_size


def test_positions_go_on_where_training_stands():
    whole = list(PositionSampler(At(0), 20, 4)) + list(PositionSampler(At(5), 20, 4))
    assert whole == list(range(40))
    for step in (3, 8):  # an epoch's worth in any case: the trainer counts
        assert list(PositionSampler(At(step), 20, 4)) == list(range(4 * step, 4 * step + 20))


def test_positions_are_dealt_to_processes():
    """Batches of two, whole: a step of both is what one process sees that accumulates two."""
    first, second = (list(PositionSampler(At(1, rank, 2), 16, 2)) for rank in (0, 1))
    assert first == [4, 5, 8, 9, 12, 13, 16, 17] and second == [6, 7, 10, 11, 14, 15, 18, 19]


def test_data_module(folder):
    target = {"target": "ldm.data.personalized.PersonalizedBase", "params": {"data_root": str(folder), "size": 8}}
    data = DataModuleFromConfig(2, train=target, validation=target)
    data.setup()
    data.trainer = At()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 8, 8, 3) and batch["position"].tolist() == [0, 1]
    assert len(data.val_dataloader()) == 150 and data.test_dataloader() == []
