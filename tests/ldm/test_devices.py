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
