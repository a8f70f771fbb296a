"""Learned styles: what they are compared with, and how."""

from evaluation import style_suite
from evaluation.kinds import KINDS, SIDE, read_kind
from evaluation.measures import JUDGE
from evaluation.style_suite import measure
from evaluation.suite import read_concepts
from ldm.judge import CLIPEvaluator
from pretrain.dataset import wide_things
from pretrain.kinds import things_in_two_styles
from tests.conftest import assert_one_line_error, run_main


def test_each_style_has_thirty_known_things_in_it_and_in_notos():
    (path,) = (KINDS / "styles").glob("*.png")
    drawings, seen = read_kind(f"styles/{path.stem}"), {c["name"] for c in read_concepts() if not c["held_out"]}
    things = things_in_two_styles(path.stem)
    assert list(drawings) == list(things) and len(drawings) == 30 and set(drawings) <= seen
    assert all(len(two) == 2 and two[0].size == (SIDE, SIDE) for two in drawings.values())
    assert all(own.source == path.stem and noto.source == "noto" for own, noto in things.values())
    assert not {t.key for t in wide_things(f"{path.stem} style")} & {own.key for own, _ in things.values()}


def test_real_drawings_are_nearer_to_their_own_style():
    own, noto = (list(column) for column in zip(*read_kind("styles/twemoji").values(), strict=True))
    judge = CLIPEvaluator(str(JUDGE))
    assert all(measure(judge, own, own, noto)["nearer"]) and not any(measure(judge, noto, own, noto)["nearer"])
    assert all(lead > 0 for lead in measure(judge, own, own, noto)["lead"])


def test_a_folder_of_no_known_style_is_named(tmp_path):
    assert_one_line_error(run_main(style_suite.main, "--concepts", "flamingo"), "flamingo: no folder of")
    assert_one_line_error(run_main(style_suite.main, "--data_root", tmp_path), "*_style: no folder of")
