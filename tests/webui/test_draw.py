"""Drawing on the page: the pictures of txt2img.py, with their parameters, and forms that pictures fill again."""

import threading

import pytest
import torch
from PIL import Image

import txt2img
from ldm.errors import UserError
from ldm.parameters import picture_parameters
from tests.conftest import pixels, run_main
from webui.draw import drawing, keep, order_of, order_values
from webui.page import as_it_comes, told
from webui.studio import Cancelled, Drawn, Order

ORDER = Order("a <green_apple> on a blue background", steps=2, pictures=1, seed=7)


def nothing(done, total):
    """Somebody who waits for a picture."""


def draw(page, order, said=None):
    return list(page.studio.draw(order, page.words(), nothing, [] if said is None else said))


def test_a_picture_is_the_one_of_the_command_and_fills_the_form_again(page, apple, tmp_path):
    order = ORDER._replace(negative_prompt="a lemon", sampler="dpm_solver", scale=4.5, strength=0.9)
    (drawn,) = draw(page, order)
    path = keep(page, order, drawn)
    prompt, negative, settings = picture_parameters(path)
    result = run_main(
        txt2img.main, "--prompt", prompt, "--negative_prompt", negative, "--embedding_path", settings["Embedding"],
        "--placeholder_string", "<green_apple>", "--dpm_solver", "--ddim_steps", settings["Steps"], "--scale",
        settings["CFG scale"], "--seed", settings["Seed"], "--strength", "0.9", "--n_samples", 1, "--outdir",
        tmp_path / "command")
    assert result.status == 0, result.err
    (other,) = (tmp_path / "command/samples").iterdir()
    assert torch.equal(pixels(path), pixels(other)) and other.name == path.name
    assert Image.open(path).text == Image.open(other).text

    again, lines = order_of(page, path, "dropped.png")
    assert again == order._replace(language="en", width=128, height=128) and lines == []
    assert len(order_values(again)) == len(order)
    assert torch.equal(pixels(draw(page, again)[0].image), pixels(path))


def test_one_drawing_leaves_nothing_for_the_next(page, apple):
    plain = ORDER._replace(prompt="a photo of a lemon")
    first = draw(page, plain)[0]
    draw(page, ORDER._replace(strength=0.5))
    assert torch.equal(pixels(draw(page, plain)[0].image), pixels(first.image))


def test_the_words_of_the_prompt_decide_what_is_loaded_and_its_letters_what_reads_it(page, apple):
    words = page.words()
    assert page.studio.words_in(ORDER, words) == [apple] and page.studio.words_in(Order("an apple"), words) == []
    assert page.studio.variant_for(ORDER, words) is None
    assert page.studio.variant_for(Order("파란 배경의 <green_apple>"), words) == "v2"
    assert page.studio.variant_for(Order("a café", language="auto"), words) is None
    assert page.studio.variant_for(Order("una manzana", language="any"), words) == "v2"


@pytest.mark.slow
def test_what_a_korean_prompt_is_read_as_is_said(page, apple):
    said: list[str] = []
    (drawn,) = draw(page, ORDER._replace(prompt="파란 배경의 <green_apple>"), said)
    assert any(line.startswith("read as: ") and "<green_apple>" in line and "blue" in line for line in said), said
    assert isinstance(drawn, Drawn)


@pytest.mark.parametrize(("values", "words"), [
    ({"pictures": 17}, "16"), ({"pictures": 0}, "16"), ({"steps": 251}, "250"), ({"width": 65}, "multiple of"),
    ({"width": 4096, "height": 4096}, "too large"), ({"scale": 1e6}, "scale"), ({"seed": -1}, "seed"),
    ({"sampler": "x"}, "x"), ({"strength": 3}, "strength"), ({"prompt": "(red:99) apple"}, "99")])
def test_what_cannot_be_drawn_is_refused_in_a_line(page, apple, values, words):
    with pytest.raises(UserError, match=words):
        draw(page, ORDER._replace(**values))
    assert page.studio.lock.acquire(blocking=False), "the next one has the model"


def test_a_prompt_that_looks_like_a_flag_is_a_prompt(page, apple):
    opt = page.studio.flags(Order("--outdir=/ <green_apple>", negative_prompt="--seed 3"), page.words(), None)
    assert opt.prompt == ["--outdir=/ <green_apple>"] and opt.negative_prompt == "--seed 3"
    assert opt.outdir == txt2img.get_parser().get_default("outdir")


def test_a_drawing_is_stopped_for_whoever_asks_and_for_nobody_else(page, apple):
    order = ORDER._replace(pictures=3, steps=40)
    mine = drawing(page, order, "mine")
    next(mine)
    page.cancelled.add("another's")
    pictures, going, _ = next(mine)
    page.cancelled.add("mine")
    last = [update for update in mine][-1]
    assert "stopped after" in last[1] and len(last[0]) < 3
    assert page.studio.lock.acquire(timeout=5)


def test_whoever_waits_for_the_model_can_stop_waiting(page, apple):
    def enough(done, total):
        raise Cancelled

    with page.studio.turn(), pytest.raises(Cancelled):
        next(page.studio.draw(ORDER, page.words(), enough, []))


@pytest.mark.slow
def test_two_at_once_have_each_their_own(page, apple):
    orders = {name: ORDER._replace(prompt=prompt) for name, prompt in (
        ("a", ORDER.prompt), ("b", "빨간 사과"), ("c", "a yellow lemon"))}
    alone = {name: draw(page, order)[0] for name, order in orders.items()}
    together, said = {}, {name: list[str]() for name in orders}
    threads = [threading.Thread(target=lambda n=name: together.update({n: draw(page, orders[n], said[n])[0]}))
               for name in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, drawn in alone.items():
        assert torch.equal(pixels(drawn.image), pixels(together[name].image)), name
    assert any("read as" in line for line in said["b"]) and not any("read as" in line for line in said["a"] + said["c"])


def test_a_picture_whose_word_is_not_here_says_so(page, apple):
    (drawn,) = draw(page, ORDER)
    path = keep(page, ORDER, drawn)
    page.shelf.delete(apple)
    order, lines = order_of(page, path, "p.png")
    assert order.prompt == ORDER.prompt and "not here" in lines[0]
    plain = path.with_name("plain.png")
    Image.new("RGB", (8, 8)).save(plain)
    with pytest.raises(UserError, match="^p.png: does not say"):
        order_of(page, plain, "p.png")


def test_errors_reach_the_browser_as_text_and_faults_of_the_program_as_they_are():
    import gradio as gr

    def wrong():
        raise UserError("no <b>word</b>")

    def broken():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(gr.Error) as error:
        told(wrong)()
    assert "&lt;b&gt;" in error.value.message
    with pytest.raises(ZeroDivisionError):
        list(told(broken)())


def test_what_a_thread_hands_over_comes_in_order_and_so_does_its_error():
    def work(put):
        for i in range(100):
            put(i)
        raise ValueError("over")

    got = []
    with pytest.raises(ValueError, match="over"):
        for come in as_it_comes(work):
            got += come
    assert got == list(range(100))
