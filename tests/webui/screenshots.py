"""The two pictures of the page in docs/web.md, and how long its path takes: python -m tests.webui.screenshots docs"""

import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.webui.test_browser import BROWSER, SHOTS, Person, draw, learn, server, watched


def main(out: Path) -> None:
    """Learn a word as a person would, with what the form has, and draw it."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "logs").mkdir()
        with server(folder) as url:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = watched(browser, url, said)
            began = time.monotonic()
            learn(Person(page), steps=None)
            page.wait_for_function("document.querySelectorAll('#run .film img').length >= 5", timeout=600_000)
            page.screenshot(path=folder / "learn.png")
            person = Person(page)
            person.waits_for("#run", "learned")
            print(f"learned after {time.monotonic() - began:.0f} s", file=sys.stderr)
            draw(person, folder, 4, 30)
            print(f"drawn after {time.monotonic() - began:.0f} s", file=sys.stderr)
            page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")
            page.screenshot(path=folder / "draw.png")
            browser.close()
        for name in ("learn", "draw"):
            with Image.open(folder / f"{name}.png") as shot:
                small = shot.convert("RGB").quantize(96, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
                small.save(out / f"page-{name}.png", optimize=True)
    assert said == [], said


if __name__ == "__main__":
    main(Path(sys.argv[1]))
