"""The path of somebody who has never used a terminal, in a real browser, with the keyboard alone: learn a word from
five pictures, draw it, come back, bring its file, compare. What it looked like is in outputs/page-screenshots."""

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium, google-chrome or chromium-browser is installed"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]
SHOTS = ROOT / "outputs/page-screenshots"
PICTURES = sorted((ROOT / "dataset/green_apple").glob("*.png"))
PATIENCE = 240_000  # milliseconds; other people's work may stop this machine for a while


@contextlib.contextmanager
def server(folder):
    """The page in a process of its own, on folders of its own: its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "webui", "--logdir", str(folder / "logs"), "--outdir", str(folder / "out"), "--port",
         "7940"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        yield next(line.split()[-1] for line in lines if line.startswith("the page: "))
    finally:
        process.kill()
        process.wait()


class Person:
    """Somebody with a keyboard."""

    def __init__(self, page):
        self.page = page

    def go_to(self, selector: str, backwards: bool = False) -> None:
        """Press Tab until a thing has the focus."""
        for _ in range(90):
            if self.page.evaluate("s => document.activeElement?.matches(s)", selector):
                return
            self.page.keyboard.press("Shift+Tab" if backwards else "Tab")
        raise AssertionError(f"the keyboard does not reach {selector}")

    def press(self, selector: str, backwards: bool = False) -> None:
        """Go to a button, and press it."""
        self.go_to(selector, backwards)
        self.page.keyboard.press("Enter")

    def write(self, selector: str, text: str, backwards: bool = False) -> None:
        """Go to a field, and write into it in place of what is there."""
        self.go_to(selector, backwards)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def send(self, field: str, files, backwards: bool = False) -> None:
        """Go to a field for files, press it, and choose files."""
        with self.page.expect_file_chooser() as chooser:
            self.press(f"{field} button", backwards)
        chooser.value.set_files(files)

    def tab(self, name: str) -> None:
        """Open a tab: from the top of the page."""
        self.page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")
        self.press(f"#tabs [role=tab][data-tab-id={name}]")

    def waits_for(self, selector: str, text: str) -> None:
        """Look at a thing until it says something."""
        self.page.wait_for_function("([s, t]) => document.querySelector(s)?.innerText.includes(t)",
                                    arg=[selector, text], timeout=PATIENCE)


def look(page, name: str) -> None:
    """Take pictures of the page at the width of a screen and of a telephone; nothing is wider than either."""
    for width, height in ((360, 740), (1280, 860)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(250)
        assert page.locator("ul[role=listbox]").count() == 0, f"{name}: a list is still open"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        page.screenshot(path=SHOTS / f"{name}-{width}.png", full_page=True)


def test_from_five_pictures_to_a_new_word_in_a_prompt(tmp_path):
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    (tmp_path / "logs").mkdir()
    said: list[str] = []
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-dev-shm-usage"])
        with server(tmp_path) as url:
            page = watched(browser, url, said)
            learn(Person(page))
            page.close()  # in the middle of it
        with server(tmp_path) as url:  # and the page's process was killed
            page = watched(browser, url, said)
            drawn = draw(Person(page), tmp_path)
            again(Person(page), drawn)
            words(Person(page), tmp_path)
            compare(Person(page))
            page.close()
        browser.close()
    assert said == []


def watched(browser, url: str, said: list[str]):
    """The page, and a list of what goes wrong in it: errors, and requests to other machines."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "data:", "blob:")) else said.append(
        request.url))
    page.goto(url)
    page.wait_for_selector("#learn")
    return page


def learn(person: Person, steps: int | None = 20) -> None:
    """Show five pictures, move a square, say what it is, and start; for so many steps, or as many as usual."""
    page = person.page
    person.send("#files", PICTURES)
    page.wait_for_function("document.querySelectorAll('#crops figure').length === 5")
    person.waits_for("#advice", "good to learn from")
    person.go_to("#crops .square")
    before = page.evaluate("document.activeElement.dataset.left")
    for key in ("-", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert float(page.evaluate("document.activeElement.dataset.left")) > float(before)
    page.wait_for_timeout(400)
    person.write("#kind input", "fruit")
    page.keyboard.press("Enter")
    page.wait_for_function("!document.querySelector('[role=listbox]')")
    person.write("#name :is(input, textarea)", "<crisp-apple>")
    if steps is not None:
        person.press("#more-learning button")
        person.write("#steps input[type=number]", str(steps))
        person.write("#every input[type=number]", "10")
        look(page, "learn")
    person.press("#learn")
    person.waits_for("#run", "<crisp-apple>")
    person.waits_for("#run", "step 10" if steps else "step 1")


def draw(person: Person, folder, count: int = 2, steps: int = 10) -> list:
    """Find the run learned, draw the word with what it is called, and get pictures."""
    page = person.page
    person.waits_for("#run", "learned")
    look(page, "learned")
    person.press("#use")
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'a photo of a <crisp-apple>'")
    person.go_to("#prompt textarea")
    page.keyboard.press("End")
    page.keyboard.type(" beside a ")
    person.press("#words button.word")
    assert page.input_value("#prompt textarea").endswith("<crisp-apple> beside a <crisp-apple>")
    person.write("#prompt textarea", "a photo of a <crisp-apple> on a blue background")
    person.write("#count input[type=number]", str(count))
    person.write("#sampling-steps input[type=number]", str(steps))
    person.press("#draw")
    person.waits_for("#going", f"{count} pictures in")
    page.wait_for_selector("#pictures img")
    page.wait_for_timeout(300)
    look(page, "draw")
    drawn = sorted((folder / "out/samples").glob("*.png"))
    assert len(drawn) == count
    return drawn


def again(person: Person, drawn: list) -> None:
    """Come back another time, and let a picture fill the form."""
    page = person.page
    page.reload()
    page.wait_for_selector("#learn")
    person.tab("draw")
    assert page.input_value("#prompt textarea") == ""
    person.press("#again-field button")
    person.send("#again", drawn[1])
    page.wait_for_function("document.querySelector('#prompt textarea')?.value.endsWith('on a blue background')")
    assert page.input_value("#seed input") == "43"


def words(person: Person, folder) -> None:
    """Bring the file of the word, and see what it is."""
    page = person.page
    person.tab("words")
    person.waits_for("#about", "<crisp-apple>")
    (file,) = (folder / "logs").glob("*/checkpoints/embeddings.pt")
    person.send("#import", file)
    person.waits_for("#imported", "<crisp-apple-2>")
    person.waits_for("#about", "20 steps")
    look(page, "words")


def compare(person: Person) -> None:
    """The word beside the plain model."""
    page = person.page
    person.tab("compare")
    person.write("#prompts textarea", "a photo of a *\na * on a blue background")
    person.go_to("#compare-words input")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    person.write("#compare-steps input[type=number]", "10")
    person.press("#compare")
    page.wait_for_selector("#sheet a")
    assert page.locator("#grid img").count() == 4
    look(page, "compare")


def test_an_error_is_said_in_words(tmp_path):
    """What cannot be is said on the page, and the page goes on."""
    from playwright.sync_api import sync_playwright

    (tmp_path / "logs").mkdir()
    began = time.monotonic()
    with server(tmp_path) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = watched(browser, url, [])
        Person(page).press("#learn")
        page.wait_for_selector("text=show some pictures first")
        browser.close()
    assert time.monotonic() - began < PATIENCE / 1000
