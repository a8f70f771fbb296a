"""Weights in brackets, as AUTOMATIC1111's web UI writes them, and prompts from a file."""

import contextlib
import io
import math
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm.errors import UserError
from ldm.prompts import MAX_DEPTH, MAX_FILE, MAX_WEIGHT, escape_prompt, find_foreign, parse_prompt, read_prompts

UP, DOWN = 1.1, 1 / 1.1


def spans(prompt, placeholders=()):
    return [(text, pytest.approx(weight, rel=1e-9)) for text, weight in parse_prompt(prompt, placeholders).spans]


@pytest.mark.parametrize("prompt, expected", [
    ("", []),
    ("normal text", [("normal text", 1)]),
    ("an (important) word", [("an ", 1), ("important", UP), (" word", 1)]),
    ("a ((very)) (red:1.3) [thing]",
     [("a ", 1), ("very", UP**2), (" ", 1), ("red", 1.3), (" ", 1), ("thing", DOWN)]),
    ("[[faint]]", [("faint", DOWN**2)]),
    # what the web UI's own docstring promises
    ("(unbalanced", [("unbalanced", UP)]),
    (r"\(literal\]", [("(literal]", 1)]),
    ("(unnecessary)(parens)", [("unnecessaryparens", UP)]),
    ("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
     [("a ", 1), ("house", 1.3 * UP**2), (" ", UP), ("on", 1), (" a ", UP), ("hill", 0.5 * UP), (", sun, ", UP),
      ("sky", UP**4), (".", UP)]),
    # unbalanced brackets: an open one counts to the end, a closing one is text
    ("a [faint red", [("a ", 1), ("faint red", DOWN)]),
    ("a) b]", [("a) b]", 1)]),
    ("red:1.3)", [("red:1.3)", 1)]),
    ("(a[b)c]", [("a", UP), ("b", 1), ("c", DOWN)]),
    ("[red:1.3]", [("red:1.3", DOWN)]),
    ("()[]", []),
    # numbers
    ("(a:.5)(b:2.)(c: +1.5 )", [("a", .5), ("b", 2), ("c", 1.5)]),
    ("(a:0) b", [("a", 0), (" b", 1)]),
    ("((a:2) b:1.5)", [("a", 3), (" b", 1.5)]),
    ("(a: b:1.5)", [("a: b", 1.5)]),
    ("(v:1.2.3)", [("v:1.2.3", UP)]),
    ("(at 16:9) is 9", [("at 16", 9), (" is 9", 1)]),
    # weight 1 is the plain prompt
    ("(red:1) apple", [("red apple", 1)]),
    ("[(red)] ([apple])", [("red apple", 1)]),
    # backslashes
    (r"\\(red:2)", [("\\", 1), ("red", 2)]),
    (r"C:\pictures \* \(a\)", [(r"C:\pictures \* (a)", 1)]),
    ("\\", [("\\", 1)]),
    ("(빨간:1.3) 사과", [("빨간", 1.3), (" 사과", 1)]),
])
def test_weights(prompt, expected):
    assert spans(prompt) == expected


def test_weighted_words_side_by_side_stay_two():
    prompt = parse_prompt("a (red:1.3)(blue:0.5) [cat](s), (고양이:2)는")
    assert prompt.text == "a red blue cat s, 고양이는"
    assert prompt.weights == [1, 1, *[1.3] * 3, *[0.5] * 5, 1, *[DOWN] * 3, *[UP] * 2, 1, 1, 2, 2, 2, 1]


def test_a_learned_word_may_have_brackets_in_its_name():
    assert spans("a [V] ([V]:1.3) [cat]", ["*", "[V]"]) == [("a [V] ", 1), ("[V]", 1.3), (" ", 1), ("cat", DOWN)]
    assert spans("(^_^) and ((^_^))", ["(^_^)", "(^"]) == [("(^_^) and ", 1), ("(^_^)", UP)]
    assert spans("[*]", ["*"]) == [("*", DOWN)], "a name without brackets changes nothing"


@pytest.mark.parametrize("prompt, words", [
    ("(red:nan)", "nan"), ("(red:1e9)", "1e9"), ("(red:-1)", "-1"), ("(red:inf)", "inf"), ("(red:10.01)", "10.01"),
    ("((red:10):10)", "weight 100"), ("(" * 30 + "red", "17.4"), ("(" * (MAX_DEPTH + 1) + "red", "nested brackets"),
])
def test_a_weight_out_of_range_is_refused(prompt, words):
    with pytest.raises(UserError, match=words):
        parse_prompt(prompt)
    with pytest.raises(UserError):
        parse_prompt(f"a cat and {prompt}")


@pytest.mark.parametrize("prompt, found", [
    ("a (red:1,3) cat", "(red:1,3)"), ("a (red)1.3 cat", ")1.3"), ("a red++ cat", "d++"), ("a red--, cat", "d--"),
    ("a [red:blue:0.5] cat", "[red:blue:0.5]"), ("a [red:10] cat", "[red:10]"), ("a [red|blue] cat", "[red|blue]"),
    ("a cat <lora:x:1>", "<lora:x:1>"), ("a cat BREAK a dog", "BREAK")])
def test_what_other_programs_read_otherwise_is_named(prompt, found):
    (line,) = find_foreign(prompt)
    assert line.startswith(f"{found!r} in {prompt!r} is ")


@pytest.mark.parametrize("prompt", [
    "a (red:1.3) [blue] cat", "a cat, (9:16), 1,5 m", "a - b, well-known", "[V] and <cat-toy>", "a (cat) 2 go",
    "a break - and a dog", "a cat (3), two"])
def test_ordinary_prompts_have_nothing_foreign(prompt):
    assert not find_foreign(prompt)


@pytest.mark.parametrize("text", ["[a:" + "1" * 10**5, "(a:" + "1" * 10**5, "[a:" * 10**5, "(a:1" + "e1" * 10**5])
def test_no_prompt_takes_long_to_read(text):
    began = time.process_time()
    find_foreign(text)
    with contextlib.suppress(UserError):
        parse_prompt(text)
    assert time.process_time() - began < 10


SIGNS = st.lists(st.sampled_from([*"()[]\\:.19e- a빨", "nan", ":1.3)"]), max_size=40).map("".join)


@given(SIGNS | st.text())
def test_any_text_is_read(text):
    try:
        prompt = parse_prompt(text)
    except UserError:
        return
    assert len(prompt.text) == len(prompt.weights) and all(s for s, _ in prompt.spans)
    assert all(0 <= w <= MAX_WEIGHT and math.isfinite(w) for w in prompt.weights)
    assert prompt.weighted == any(w != 1 for w in prompt.weights)
    rest = iter(text)  # nothing but brackets, numbers and backslashes goes, and in order
    assert all(letter in rest for text, _ in prompt.spans for letter in text)
    if not set(text) & set("()[]\\"):
        assert prompt.spans == (((text, 1),) if text else ())


@given(SIGNS | st.text())
def test_what_is_escaped_is_meant_letter_for_letter(text):
    assert parse_prompt(escape_prompt(text)).spans == (((text, 1.0),) if text else ())
    assert [w for w in parse_prompt(f"({escape_prompt(text)}:1.5)").weights] == [1.5] * len(text)


def prompts_of(tmp_path, data):
    (tmp_path / "prompts.txt").write_bytes(data)
    return read_prompts(str(tmp_path / "prompts.txt"))


@pytest.mark.parametrize("data, expected", [
    (b"a cat\na dog", ["a cat", "a dog"]), (b"a cat\r\na dog\r\n", ["a cat", "a dog"]), (b"a\rb", ["a", "b"]),
    ("\ufeff빨간 사과\n".encode(), ["빨간 사과"]), (b"\n \n\ta cat \n\n", ["a cat"]), (b"a\na\n", ["a", "a"]),
    (b"# not this\na #1 fan\n #1 fan\n", ["a #1 fan", "#1 fan"]),
    ("a\u2028b\x0cc\x85".encode(), ["a\u2028b\x0cc"]),  # these end no line; the last one is a space
])
def test_a_prompt_in_each_line(tmp_path, data, expected):
    assert prompts_of(tmp_path, data) == expected


def test_lines_left_out_are_named(tmp_path, capsys):
    prompts_of(tmp_path, b"a\n# b\n# c\n")
    assert "1 prompt; 2 lines with # in front left out" in capsys.readouterr().err


@pytest.mark.parametrize("data, words", [
    (b"", "holds no prompts"), (b"\n# a\n", "holds no prompts"), ("a b".encode("utf-16"), "line 1 is not valid UTF-8"),
    ("a\n사과".encode("cp949"), "line 2 is not valid UTF-8"), (b"a\nb\0c", "line 2 holds a character of code 0"),
    (b"a" * (MAX_FILE + 1), "larger than"),
])
def test_what_is_no_file_of_prompts(tmp_path, data, words):
    with pytest.raises(UserError, match=f"prompts.txt: {words}"):
        prompts_of(tmp_path, data)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_prompts(str(tmp_path / "none.txt"))
    with pytest.raises(UserError, match="a folder"):
        read_prompts(str(tmp_path))


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("빨간 사과\na cat\n".encode())))
    assert read_prompts("-") == ["빨간 사과", "a cat"]
    with pytest.raises(UserError, match="standard input: holds no prompts"):
        read_prompts("-")
    monkeypatch.setattr(sys, "stdin", None)  # closed: python txt2img.py <&-
    with pytest.raises(UserError, match="standard input: holds no prompts"):
        read_prompts("-")
