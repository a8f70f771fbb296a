"""Pictures of what no training has seen, in dataset/ and by the command, and a style learned from five of them."""

import io
import zipfile

import pytest
from PIL import Image

import train_new
from ldm.embedding_files import read_embeddings
from pretrain import dataset, things, world
from pretrain.held_out import held_out_lists
from pretrain.icons import member_name
from tests.conftest import ROOT, assert_one_line_error, run_main
from tests.runs import QUICK, flags, only_run

needs_font = pytest.mark.skipif(not (world.FONT.exists() and world.EMOJI_TEST.exists()),
                                reason="apt install fonts-noto-color-emoji unicode-cldr-core unicode-data")


@pytest.fixture
def archive(tmp_path):
    """An archive in which the held-out style's drawings are red squares."""
    square = io.BytesIO()
    Image.new("RGBA", (136, 136), (200, 0, 0, 255)).save(square, "WEBP", lossless=True)
    with zipfile.ZipFile(tmp_path / "world.zip", "w") as file:
        for row in things.read_list():
            if row.source == "twemoji":
                file.writestr(member_name(row), square.getvalue())
    return tmp_path / "world.zip"


def test_the_dataset_has_held_out_things_of_other_kinds():
    lists = held_out_lists()
    folders = [f for f in (ROOT / "dataset").iterdir() if f.name.split("_")[0] in {*lists.families, *lists.styles}]
    assert len({f.name.split("_")[0] for f in folders}) == 3 and len(folders) >= 7
    for folder in folders:
        pictures = [Image.open(f) for f in sorted(folder.iterdir())]
        assert len(pictures) == 5 and {p.size for p in pictures} == {(128, 128)}
        assert dataset.wide_things(folder.name.replace("_", " "))


@needs_font
def test_a_member_a_drawing_and_a_style_are_written(tmp_path, archive):
    names = ["mug 12", "twemoji octopus", "twemoji style", "flamingo"]
    result = run_main(dataset.main, *names, "--out", tmp_path / "out", "--archive", archive)
    assert result.status == 0, result.err
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"mug_12", "twemoji_octopus", "twemoji_style", "flamingo"}
    for name in ("mug_12", "flamingo"):
        for number in range(1, 6):
            file = f"{name}/{number}.png"
            assert (tmp_path / "out" / file).read_bytes() == (ROOT / "dataset" / file).read_bytes()


@needs_font
@pytest.mark.parametrize("name", ["fish 3", "mug", "mug one", "twemoji nothing", "noto octopus", "twemoji flamingo"])
def test_what_is_not_held_out_is_refused(name, tmp_path, archive):
    result = run_main(dataset.main, "mug 3", name, "--out", tmp_path / "out", "--archive", archive)
    assert_one_line_error(result, f"{name!r} is not held out")
    assert not (tmp_path / "out").exists()
    assert_one_line_error(run_main(dataset.main, "mug 3", "--out", tmp_path / "out"), "need --archive")


@pytest.mark.slow
def test_a_style_is_learned_from_five_pictures(tmp_path):
    arguments = flags(tmp_path, base="configs/emoji/finetune-style.yaml", data_root="dataset/twemoji_style",
                      init_word="drawing")
    result = run_main(train_new.main, *arguments, "-t", *QUICK, "lightning.trainer.max_steps=3")
    assert result.status == 0, result.err
    checkpoints = only_run(tmp_path) / "checkpoints"
    assert read_embeddings(checkpoints / "embeddings.pt")["*"].shape == (1, 192)
    assert not (checkpoints / "embeddings_best.pt").exists()
    from load import instantiate_from_config, load_config

    config = load_config(ROOT / "configs/emoji/finetune-style.yaml").data.params.train
    items = instantiate_from_config(config, data_root="dataset/twemoji_style", placeholder_token="<flat>")
    captions = {items[n]["caption"] for n in range(40)}
    assert len(captions) > 3 and all(c.endswith("in the style of <flat>") for c in captions)
