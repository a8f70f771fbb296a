"""What a model runs on."""

import pytest
import torch

from ldm import devices
from ldm.errors import UserError


def test_devices_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for gpus in ("0", "0,", "0,1"):
        assert devices.choose_devices(gpus) == ("cpu", 1)
        assert "running on the CPU" in capsys.readouterr().err
    assert devices.choose_devices(None) == ("cpu", 1)
    assert capsys.readouterr().err == ""


def test_devices_with_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_devices("0") == devices.choose_devices("0,") == devices.choose_devices(None) == ("gpu", [0])
    assert devices.choose_devices("0,1") == ("gpu", [0, 1])
    for gpus in ("2", "one", "-1"):
        with pytest.raises(UserError, match="--gpus"):
            devices.choose_devices(gpus)


def test_the_first_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.first_device() == devices.first_device("3") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices.first_device() == torch.device("cuda", 0) and devices.first_device("2,1") == torch.device("cuda", 2)


def test_the_gpu_of_an_apple_processor(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices.platform, "processor", lambda: "arm")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_devices(None) == devices.choose_devices("0") == ("mps", 1)
    assert devices.first_device() == torch.device("mps")
    assert not devices.fast_bfloat16(devices.first_device())
    with pytest.raises(UserError, match="no GPU 1; this machine has 0 alone"):
        devices.choose_devices("0,1")
    monkeypatch.setenv("DISABLE_MPS", "1")
    assert devices.choose_devices(None) == ("cpu", 1)
    monkeypatch.delenv("DISABLE_MPS")
    monkeypatch.setattr(devices.platform, "processor", lambda: "i386")  # whose other GPUs Lightning does not take
    assert devices.choose_devices(None) == ("cpu", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(devices.platform, "processor", lambda: "arm")
    assert devices.choose_devices(None) == ("gpu", [0])


@pytest.mark.parametrize("fast", [True, False])
def test_mixed_precision_is_for_devices_that_are_fast_at_it(monkeypatch, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: not fast)
    device = torch.device("cpu")
    assert devices.fast_bfloat16(device) is fast and devices.fast_bfloat16(torch.device("cuda")) is not fast
    with devices.mixed_precision(device):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)


def test_processes_that_share_work_take_a_gpu_each(monkeypatch):
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "3")):
        monkeypatch.setenv(name, value)
    assert devices.own_gpu() is None or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for gpus, own in ((8, "3"), (4, "3"), (2, "1"), (1, "0")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert devices.own_gpu() == own
    monkeypatch.delenv("WORLD_SIZE")
    assert devices.own_gpu() is None
