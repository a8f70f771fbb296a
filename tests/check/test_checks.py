"""The check scripts on the embedded model and on the small reference model."""

import pytest

import load
from check import check_initword, check_model, check_placeholder
from tests.conftest import EMBEDDING, EMOJI, GOLDEN, assert_one_line_error, run_main, run_script

SMALL = ("--config", GOLDEN / "config.yaml", "--ckpt_path", GOLDEN / "model.ckpt")


def test_init_words():
    result = run_main(check_initword.main, "sculpture", "teapots", *SMALL)
    one, several = result.out.splitlines()[2:]
    assert one.split() == ["sculpture", "sculpture", "6743", "yes"]
    assert "tea ##pot ##s" in several and "mean of 3" in several
    assert "cannot read" in run_main(check_initword.main, "\u2603").out


def test_what_is_in_a_checkpoint():
    result = run_main(check_model.main, EMOJI)
    assert result.status == 0
    for words in ("UNet", "autoencoder", "text encoder", "float16", "checkpoint misses: none", "not expect: none",
                  "another shape: none"):
        assert words in result.out
    table = dict(row.split()[:1] + [row.split()[1:]] for row in result.out.split("\n\n")[0].splitlines()[2:])
    weights = load.read_state_dict(EMOJI)
    assert table["all"] == [f"{len(weights):,}", f"{sum(w.numel() for w in weights.values()):,}"]


def test_what_a_config_misses():
    result = run_main(check_model.main, GOLDEN / "model.ckpt", "--config", EMOJI.parent / "config.yaml", "--most", 3)
    assert result.status == 0
    assert "  ... and " in result.out and "of another shape: 0" not in result.out and "misses: none" not in result.out
    assert_one_line_error(run_main(check_model.main, "none.ckpt"), "none.ckpt")


def test_where_a_learned_word_goes_in():
    result = run_main(check_placeholder.main, GOLDEN / "embeddings.pt", "--prompt", "a photo of a *", *SMALL)
    assert result.status == 0
    rows = {row.split()[0]: row for row in result.out.splitlines() if row.strip()[:1].isdigit()}
    assert "*, vector 0" in rows["5"] and "vector" not in rows["4"]
    assert "1 vector goes in" in result.out
    moved = float(rows["5"].split()[-1])
    assert moved > max(float(rows[str(p)].split()[-1]) for p in range(5))


def test_the_nearest_word_of_a_start_is_itself(tmp_path, emoji_model):
    from ldm.modules.embedding_manager import EmbeddingManager
    EmbeddingManager(emoji_model.cond_stage_model, ["*"], ["apple"]).save(tmp_path / "apple.pt")
    result = run_main(check_placeholder.main, tmp_path / "apple.pt")
    assert "apple 1.00" in result.out


@pytest.mark.slow
def test_as_a_module():
    result = run_script("-m", "check.check_placeholder", EMBEDDING, "--prompt", "no learned word")
    assert result.returncode == 0 and "0 vectors go in" in result.stdout and "does not contain *" in result.stderr
