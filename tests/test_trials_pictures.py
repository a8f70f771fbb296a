"""Trials that people reported of other tools: captions beside pictures, panoramas, left and right, masks, batch against
run length. Each by the command itself, with the embedded model."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

import train_new
import train_new_v2
from ldm.embedding_files import read_embeddings
from tests.conftest import assert_one_line_error, pixels, run_main
from tests.runs import QUICK, flags, learned, only_run

TWO = "lightning.trainer.max_steps=2"
COLOURS = ("navy", "gold", "teal")


@pytest.fixture
def toys(tmp_path):
    """Three pictures of one thing, cut out of their background."""
    folder = tmp_path / "toys"
    folder.mkdir()
    for i in range(3):
        image = Image.new("RGBA", (96, 96), (0, 0, 0, 0))
        ImageDraw.Draw(image).polygon([(20 + 5 * i, 80), (48, 14 + i), (80, 70)], fill="crimson")
        image.save(folder / f"{i}.png")
    return folder


@pytest.fixture
def panoramas(tmp_path):
    """Three pictures twice as wide as high: a disc in the middle, other colours at both ends."""
    folder = tmp_path / "panoramas"
    folder.mkdir()
    for i, colour in enumerate(COLOURS):
        image = Image.new("RGB", (256, 128), colour)
        image.paste("black", (0, 0, 60, 128))
        image.paste("white", (196, 0, 256, 128))
        ImageDraw.Draw(image).ellipse((96, 32, 160, 96), fill="red")
        image.save(folder / f"{i}.png")
    return folder


def train(logs, data, *arguments, main=train_new.main, **changes):
    result = run_main(main, *flags(logs, data_root=data, init_word="toy", **changes), *QUICK, *arguments)
    assert result.status == 0, result.err
    return result.err


def test_captions_beside_pictures_are_what_the_word_is_learned_in(tmp_path, toys):
    (toys / "0.txt").write_text("a {} on a navy table\na picture of a {} at night\n")
    (toys / "1.txt").write_text("two * beside a cup")
    (toys / "notes.txt").write_text("bought in May")
    said = train(tmp_path / "with", toys, "-t", TWO)
    assert "sentences: captions beside 2 of 3 pictures, 10 templates for 2.png" in said
    assert "left out: notes.txt (unused text)" in said
    without = train(tmp_path / "without", toys, "-t", TWO, "--captions", "false")
    assert "sentences: 10 templates" in without and "0.txt (unused text), 1.txt (unused text)" in without
    assert not torch.equal(learned(only_run(tmp_path / "with")), learned(only_run(tmp_path / "without")))


def test_captions_may_name_any_word_that_is_learned(tmp_path, toys):
    for i, caption in enumerate(("a * on a table", "a & in the grass", "a & beside a *")):
        (toys / f"{i}.txt").write_text(caption)
    train(tmp_path / "logs", toys, "-t", TWO, "data.params.batch_size=3",
          "lightning.modelcheckpoint.params.every_n_train_steps=1",
          "model.params.personalization_config.params.placeholder_strings=['*','&']",
          "model.params.personalization_config.params.initializer_words=[toy,bird]")
    vectors = {step: read_embeddings(only_run(tmp_path / "logs") / f"checkpoints/embeddings{step}.pt")
               for step in ("_gs-1", "")}
    assert all(not torch.equal(vectors[""][word], vectors["_gs-1"][word]) for word in "*&")


@pytest.mark.parametrize("caption, words", [
    ("a toy on a table", ["1.txt", "'a toy on a table' does not name the word", "--captions false"]),
    ("a " + "very " * 40 + "red {}", ["1.png", "does not come upon the word", "shorten it"])])
def test_a_caption_without_the_word_is_refused_by_name(tmp_path, toys, caption, words):
    (toys / "1.txt").write_text(caption)
    result = run_main(train_new.main, *flags(tmp_path / "logs", data_root=toys, init_word="toy"), "-t", *QUICK)
    assert_one_line_error(result, *words)
    assert not (tmp_path / "logs").exists()


def test_korean_captions(tmp_path, toys):
    for i, caption in enumerate(("빨간 배경 위의 {}", "왼쪽을 보는 {}", "<cat-toy>의 사진")):
        (toys / f"{i}.txt").write_text(caption, encoding="utf-8")
    said = train(tmp_path / "logs", toys, "-t", "lightning.trainer.max_steps=1", "data.params.train.params.flip_p=0.5",
                 main=lambda a: train_new_v2.main(a), base="configs/emoji/finetune-v2.yaml",
                 placeholder_string="<cat-toy>")
    assert "captions beside the pictures" in said and "not mirrored, since the caption of 1.png says '왼쪽을'" in said


def test_words_of_a_caption_that_the_text_encoder_cannot_read_are_said(tmp_path, toys):
    (toys / "1.txt").write_text("a {} \U0001f9ff")
    assert "cannot read '\U0001f9ff' in 'a * \U0001f9ff'" in train(tmp_path, toys)


def test_panoramas_are_cut_not_squeezed(tmp_path, panoramas):
    """The first grid of the run shows the pictures as they are learned: discs, half as high as the picture."""
    grid = "lightning.callbacks.image_logger.params.disabled=false"
    said = train(tmp_path / "logs", panoramas, "-t", grid, "lightning.trainer.max_steps=1", "data.params.batch_size=3",
                 "lightning.callbacks.image_logger.params.log_images_kwargs.sample=false")
    assert "cut to their middle: 0.png, 1.png, 2.png" in said and "squeezed" not in said
    inputs = pixels(only_run(tmp_path / "logs") / "images/train/inputs_gs-000000.png")
    for left in (2, 132, 262):
        picture = inputs[2:130, left : left + 128]
        red = (picture - torch.tensor([255.0, 0, 0])).abs().amax(dim=2) < 60
        assert abs(int(red.any(0).sum()) - 64) <= 3 and abs(int(red.any(1).sum()) - 64) <= 3
        assert torch.allclose(picture[0, 0], picture[0, -1], atol=3), "nothing of the black and white ends"


@pytest.mark.parametrize("fit, words", [
    ("pad", ["padded, and the loss leaves out what was added"]), ("random", ["cut at a random place each time"]),
    ("squeeze", ["squeezed: 0.png", "warning: 3 of 3 pictures are not square", "0.png (256 x 128)", "--fit crop"])])
def test_other_ways_to_fit_panoramas(tmp_path, panoramas, fit, words):
    said = train(tmp_path / "logs", panoramas, "-t", TWO, "--fit", fit)
    assert all(w in said for w in words), said
    (project,) = only_run(tmp_path / "logs").glob("configs/*-project.yaml")
    assert OmegaConf.load(project).data.params.train.params.fit == fit, "a resumed run does the same"


def test_the_published_config_squeezes_aloud_and_the_flag_overrules_it(tmp_path, panoramas):
    """Its data set, on the embedded model."""
    published = OmegaConf.load("configs/latent-diffusion/txt2img-1p4B-finetune.yaml").data
    published.params.train.params.size = published.params.validation.params.size = 64
    (tmp_path / "published.yaml").write_text(OmegaConf.to_yaml({
        "model": {"base_learning_rate": 5e-3}, "data": published,
        "lightning": OmegaConf.load("configs/emoji/finetune.yaml").lightning}))
    base = {"base": tmp_path / "published.yaml"}
    assert "3 of 3 pictures are not square, and squeezed out of shape as the published" in train(
        tmp_path, panoramas, **base)
    said = train(tmp_path, panoramas, "--fit", "crop", **base)
    assert "squeezed" not in said and "mirrored 50% of the time" in said


def test_left_and_right_are_not_mirrored(tmp_path, toys):
    flip = "data.params.train.params.flip_p=0.5"
    assert "mirrored 50% of the time" in train(tmp_path, toys, flip)
    (toys / "2.txt").write_text("a {} that looks to the left")
    assert "not mirrored, since the caption of 2.png says 'left'" in train(tmp_path, toys, flip)
    (toys / "2.txt").unlink()
    said = train(tmp_path, toys, flip, "data.params.train.params.templates=['a {}', 'right view of a {}']")
    assert "not mirrored, since a template says 'right'" in said


@pytest.mark.slow
def test_masks_by_alpha_and_by_file(tmp_path, toys):
    said = train(tmp_path / "off", toys, "-t", TWO)
    assert "masks: none" in said and "all pictures have one background, about #ffffff" in said
    said = train(tmp_path / "alpha", toys, "-t", TWO, "--mask", "alpha")
    assert "masks: alpha channel, on changing backgrounds" in said and "one background" not in said
    for i in range(3):
        Image.open(toys / f"{i}.png").getchannel("A").save(toys / f"{i}.mask.png")
    said = train(tmp_path / "file", toys, "-t", TWO)
    assert "3 pictures from" in said and "masks: files" in said and "left out" not in said
    words = [learned(only_run(tmp_path / name)) for name in ("off", "alpha", "file")]
    assert not any(torch.equal(a, b) for a, b in ((words[0], words[1]), (words[0], words[2]), (words[1], words[2])))
    assert torch.equal(words[0], learned_without_masks(tmp_path, toys)), "--mask off is what it was"


def learned_without_masks(tmp_path, toys):
    train(tmp_path / "again", toys, "-t", TWO, "--mask", "off")
    return learned(only_run(tmp_path / "again"))


def test_masks_that_are_not_there_are_one_line(tmp_path, panoramas):
    for mask in ("alpha", "file"):
        result = run_main(train_new.main, *flags(tmp_path / "logs", data_root=panoramas, init_word="toy", mask=mask))
        assert_one_line_error(result, f"--mask {mask}", str(panoramas))


def test_batch_and_run_length_are_said_beforehand(tmp_path, toys):
    said = train(tmp_path, toys, "lightning.trainer.max_steps=90", "data.params.batch_size=2",
                 "lightning.trainer.accumulate_grad_batches=3", "model.base_learning_rate=0.001")
    assert ("90 steps of 6 pictures (batches of 2 x 3 accumulated): 540 in all, each of the 3 about 180 times; "
            "a step's rate of 0.006 is 0.001 for each of its pictures") in said
    assert "a step's rate is 0.001, whatever the batch" in train(
        tmp_path, toys, "--scale_lr", "false", "model.base_learning_rate=0.001")


def test_small_pictures_are_named_before_training(tmp_path, toys):
    for name, side in (("0.png", 128), ("1.png", 40), ("2.png", 200)):
        Image.open(toys / name).resize((side, side)).save(toys / name)
    assert "warning: 1 of 3 pictures is smaller than 128 px" in train(tmp_path, toys)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [None, "v1"])
def test_resuming_is_exact_with_all_of_it(tmp_path, panoramas, variant):
    """Random places, mirroring, changing backgrounds, captions and masks: functions of seed and position."""
    for i in range(3):
        image = Image.open(panoramas / f"{i}.png").convert("RGBA")
        alpha = np.zeros((128, 256), np.uint8)
        alpha[20:108, 60:200] = 255
        image.putalpha(Image.fromarray(alpha))
        image.save(panoramas / f"{i}.png")
    (panoramas / "0.txt").write_text("a {} on a table\na photo of two {}")
    more = ("-t", "--fit", "random", "--mask", "alpha", "data.params.train.params.flip_p=0.5",
            "lightning.callbacks.image_logger.params.disabled=true")
    base = "configs/emoji/finetune.yaml" if variant is None else "configs/emoji/finetune-v1.yaml"
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def main(arguments):
        train_new.main(arguments, variant)

    train(whole, panoramas, *more, "lightning.trainer.max_steps=7", main=main, base=base)
    train(parts, panoramas, *more, "lightning.trainer.max_steps=3", main=main, base=base)
    result = run_main(main, "-t", "--resume", only_run(parts), "lightning.trainer.max_steps=7")
    assert result.status == 0 and "cut at a random place" in result.err and "alpha channel" in result.err, result.err
    assert torch.equal(learned(only_run(whole)), learned(only_run(parts)))
