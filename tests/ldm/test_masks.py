"""Masks: which file is one, what it must be, and what the loss makes of it."""

import pytest
import torch
from PIL import Image

from ldm.data.personalized import PersonalizedBase
from ldm.data.pictures import open_images
from ldm.errors import UserError
from ldm.models.diffusion import ddpm


def with_hole(path, size=(40, 30)):
    """A picture whose left half is transparent."""
    image = Image.new("RGBA", size, (0, 90, 200, 255))
    image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    image.save(path)


def test_files_of_masks_are_no_pictures_and_belong_to_one(folder, capsys):
    for name in ("0.mask.png", "1-masklabel.png", "7.mask.png"):
        Image.new("L", (40, 30), 255).save(folder / name)
    data = PersonalizedBase(folder, size=8)
    assert [p.path.name for p in data.pictures if p.masked] == ["0.png", "1.png"] and data.num_images == 3
    assert data.summary.splitlines()[0].endswith("left out: 7.mask.png (unused mask)")
    assert "masks: files; none, so that all of it counts: 2.png" in data.summary
    assert all("mask" in data[p] for p in range(3))
    assert len(open_images(folder)) == 3 and "left out: 0.mask.png" in capsys.readouterr().err
    off = PersonalizedBase(folder, size=8, mask=False)  # as YAML reads `off`
    assert "mask" not in off[0] and "0.mask.png (unused mask)" in off.summary and "masks: none" in off.summary


def test_masks_are_read_as_they_are_drawn(folder):
    """White is the thing, on black, or on nothing."""
    mask = Image.new("LA", (40, 30), (0, 0))
    mask.paste((255, 255), (20, 0, 40, 30))
    mask.save(folder / "0.mask.png")
    data = PersonalizedBase(folder, size=8, flip_p=0.0, interpolation="linear")
    (item,) = (i for i in map(data.__getitem__, range(3)) if "0.png" in i["key"])
    assert item["mask"][:, 0].max() == 0 and item["mask"][:, -1].min() == 1


@pytest.mark.parametrize("parameters, words", [
    ({"mask": "file"}, ["none of its pictures has a mask", "--mask file"]),
    ({"mask": "alpha"}, ["none of its pictures is transparent", "--mask alpha"])])
def test_masks_that_are_not_there(folder, parameters, words):
    with pytest.raises(UserError) as error:
        PersonalizedBase(folder, size=8, **parameters)
    assert all(w in str(error.value) for w in words)


@pytest.mark.parametrize("mask, words", [
    (Image.new("L", (30, 40), 255), ["0.mask.png: 30 x 40 pixels, and 0.png has 40 x 30, both turned upright"]),
    (Image.new("L", (40, 30), 0), ["0.png: its mask leaves nothing"]), (None, ["0.mask.png: not a readable picture"])])
def test_masks_that_cannot_be_used_are_named(folder, mask, words):
    (folder / "0.mask.png").write_bytes(b"\x89PNG")
    if mask:
        mask.save(folder / "0.mask.png")
    with pytest.raises(UserError) as error:
        PersonalizedBase(folder, size=8)
    assert all(w in str(error.value) for w in words), error.value
    assert PersonalizedBase(folder, size=8, mask="off").num_images == 3
    assert PersonalizedBase(folder, size=8, skip_bad_images=True).num_images == 2


def test_alpha_where_there_is_one(folder):
    with_hole(folder / "0.png")
    Image.new("RGBA", (40, 30), "red").save(folder / "1.png")
    data = PersonalizedBase(folder, size=8, mask="alpha")
    assert [p.path.name for p in data.pictures if p.cut_out] == ["0.png"]
    assert "alpha channel, on changing backgrounds; none, so that all of it counts: 1.png, 2.png" in data.summary


def test_the_loss_counts_what_the_mask_leaves(shared_small_model):
    """The masked loss is the mean over what is left; noise elsewhere does not change it, and all ones is no mask."""
    model = shared_small_model.eval()
    torch.manual_seed(0)
    z, noise = torch.randn(2, 2, model.channels, 8, 8).unbind()
    t, cond = torch.tensor([300, 700]), model.get_learned_conditioning(["a *", "*"])
    mask = torch.zeros(2, 16, 16)
    mask[0, :8], mask[1, :, 4:] = 1.0, 0.5

    def loss(mask):
        with torch.no_grad():
            return model.p_losses(z, cond, t, noise, mask)[1]["val/loss_simple"]

    with torch.no_grad():
        error = (model.apply_model(model.q_sample(z, t, noise), t, cond) - noise).square()
    by_hand = (error[0, :, :4].mean() + error[1, :, :, 2:].mean()) / 2
    assert torch.allclose(loss(mask), by_hand, rtol=1e-5)
    assert torch.allclose(loss(torch.ones(2, 16, 16)), loss(None), rtol=1e-6)
    assert not torch.allclose(loss(mask), loss(None), rtol=1e-3)
    assert torch.equal(ddpm.weighted_mean(error, None), error.mean(dim=(1, 2, 3))), "without masks bit for bit"


def test_latents_are_kept_as_long_as_there_is_room(small_model, monkeypatch):
    images = torch.rand(4, 16, 16, 3) * 2 - 1
    batch = {"image": images, "key": ["a", "b", "a", "c"]}
    batch["image"][2] = images[0]
    whole = small_model._posterior(batch).parameters
    assert list(small_model._moments) == ["a", "b", "c"]
    small_model._moments.clear()
    monkeypatch.setattr(ddpm, "KEPT_BYTES", 2 * whole[0].nbytes)
    assert torch.equal(small_model._posterior(batch).parameters, whole)
    assert list(small_model._moments) == ["a", "b"]
