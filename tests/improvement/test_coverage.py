"""What of a prompt is left over beside names and plain words."""

import pytest

from improvement.v2.coverage import Coverage
from improvement.v2.names import STRANGE, Name, Names

TABLE = Names([
    Name("고양이", "", "cat"), Name("자", "", "straight ruler"), Name("파리", "", "fly"), Name("cat", "", "cat"),
    Name("해파리", "", STRANGE), Name("sewing machine", "", STRANGE),
    *(Name(word, "", "") for word in ("그려줘", "랑", "이랑", "두", "마리", "a", "please", "draw", "and", "を",
                                             "描いて")),
])


def gaps(text, mark=0.9, copied=(), nothing=False):
    """With a token a letter, all of one mark; copied are letters."""
    return Coverage(TABLE).gaps(text, [mark] * len(text), [(i, i + 1) for i in range(len(text))], copied, nothing)


@pytest.mark.parametrize("text, named", [
    ("고양이랑 드론", ["드론"]), ("드론이랑 고양이", ["드론"]), ("고양이 두 마리 그려줘", []),
    ("전자레인지 그려줘", ["전자레인지"]), ("해파리 두 마리", ["해파리"]), ("draw a cat, please!", []),
    ("Draw a Washing Machine and a cat", ["Washing Machine"]), ("a sewing machine and a cat", ["sewing machine"]),
    ("洗濯機を描いて", ["洗濯機"]), ("catapult", ["catapult"]), ("12 !", []), ("", []),
])
def test_what_is_left_over_is_named(text, named):
    assert gaps(text) == named


def test_the_aligner_has_to_think_so_too():
    assert gaps("고양이랑 드론", mark=0.05) == [] and gaps("해파리", mark=0.05) == ["해파리"]
    assert gaps("pleese draw a cat", mark=0.3) == []      # a letter away from a plain word
    assert gaps("pleese draw a cat", mark=0.9) == ["pleese"]


def test_what_was_copied_is_understood():
    assert gaps("자", copied=[0]) == [] and gaps("자") == ["자"] and gaps("자", mark=0.3) == []
    assert gaps("고양이", nothing=True) == ["고양이"]         # a name of which nothing was made
