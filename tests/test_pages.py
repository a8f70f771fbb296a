"""The report of a run and the contact sheet in Chromium: the slider, without a script, narrow windows, dark mode."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from report.contact import write_index
from report.run import write_report
from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt install chromium)")]

# What a page says of itself once it is drawn, beside what is being tested: how wide it came to be, what is seen.
PROBE = """<script>
addEventListener("load", () => {
  const seen = [...document.querySelectorAll(".frame")].filter(f => f.getBoundingClientRect().height > 0);
  const put = (name, value) => document.body.setAttribute("data-" + name, value);
  put("wide", document.documentElement.scrollWidth + "/" + innerWidth);
  put("frames", seen.map(f => f.dataset.step).join(" "));
  const input = document.querySelector(".slider input");
  if (input) {
    input.value = 0; input.dispatchEvent(new Event("input"));
    put("moved", [...document.querySelectorAll(".frame")].filter(f => f.getBoundingClientRect().height > 0).map(
      f => f.dataset.step).join(" ") + "|" + input.getAttribute("aria-valuetext"));
    input.focus(); put("focus", document.activeElement.id);
  }
  put("broken", [...document.images].filter(i => i.complete && !i.naturalWidth).length);
});
</script>"""


def chromium(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                           "--enable-logging=stderr", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, env=os.environ | {"HOME": "/tmp"})


def said(page: Path, *arguments) -> dict[str, str]:
    """What PROBE says of a page."""
    probed = page.with_name(f"probed-{page.name}")
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8")
    done = chromium(*arguments, "--dump-dom", probed.as_uri())
    assert "CONSOLE" not in done.stderr, done.stderr
    body = done.stdout[done.stdout.index("<body"):].split(">", 1)[0]
    return {part.split("=", 1)[0]: part.split('"')[1] for part in body.split(" data-")[1:]}


def screenshot(page: Path, file: Path, width: int, dark: bool) -> Image.Image:
    chromium(f"--window-size={width},900", f"--blink-settings=preferredColorScheme={int(not dark)}",
             f"--screenshot={file}", page.as_uri())
    with Image.open(file) as picture:
        return picture.convert("RGB")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The example's run, with pictures of four steps and a history as long."""
    run = tmp_path_factory.mktemp("runs") / "green_apple"
    shutil.copytree(ROOT / "logs/example_green_apple", run)
    lines = [{"step": step, "loss": 0.2 + 10 / (step + 20), "quartiles": [0.5, None, 0.2, 0.1], "words": {
        "*": {"norm": 1.7, "distance": step / 300, "nearest": [[["fruit", 0.9], ["melon", 0.4]]]}}}
        for step in range(0, 301, 5)]
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(run)
    return run


def test_the_slider_shows_a_step_at_a_time(run):
    found = said(run / "report.html", "--window-size=1280,900")
    assert found["frames"] == "300" and found["moved"] == "0|step 0" and found["focus"] == "step"
    assert found["broken"] == "0"


def test_without_a_script_all_steps_are_there(run, tmp_path):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "script-src 'unsafe-inline'" in page
    (tmp_path / "x.html").write_text(page.replace("script-src 'unsafe-inline'", "script-src 'none'"), encoding="utf-8")
    shown = chromium("--dump-dom", (tmp_path / "x.html").as_uri()).stdout
    assert shown.count('<div class="frame" data-step=') == 4 and '<div class="slider" hidden' in shown
    assert not any("hidden" in part.split(">")[0] for part in shown.split('<div class="frame"')[1:])


@pytest.mark.parametrize("width", [500, 1280])  # narrower windows than 500 have no frame of their own in every version
def test_the_report_is_no_wider_than_the_window(run, width):
    found = said(run / "report.html", f"--window-size={width},900")
    wide, room = map(int, found["wide"].split("/"))
    assert wide <= room, found


@pytest.mark.parametrize("which", ["report", "contact sheet"])
def test_on_a_phone_nothing_leaves_the_screen(run, tmp_path, which):
    """360 px, as a frame in a page of that width."""
    if which == "report":
        file = run / "report.html"
    else:
        shutil.copytree(ROOT / "outputs/example_green_apple", tmp_path, dirs_exist_ok=True)
        file = write_index(tmp_path)
    page = file.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>")
    page = page.replace("document.body.setAttribute", "parent.document.body.setAttribute")
    (tmp_path / "inside.html").write_text(page, encoding="utf-8")
    (tmp_path / "phone.html").write_text('<body><iframe src="inside.html" style="width:360px;height:640px;border:0">'
                                         "</iframe></body>")
    done = chromium("--allow-file-access-from-files", "--window-size=800,900", "--virtual-time-budget=5000",
                    "--dump-dom", (tmp_path / "phone.html").as_uri())
    assert 'data-wide="360/360"' in done.stdout, done.stdout[:500]


def test_light_and_dark(run):
    light, dark = (screenshot(run / "report.html", run / f"{name}.png", 800, name == "dark")
                   for name in ("light", "dark"))
    assert min(light.getpixel((2, 2))) > 200 and max(dark.getpixel((2, 2))) < 60


def test_the_contact_sheet(tmp_path):
    shutil.copytree(ROOT / "outputs/example_green_apple", tmp_path / "out")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "out/samples/90000_한글 #1 100%.png")
    found = said(write_index(tmp_path / "out"), "--window-size=800,3000")
    assert found["broken"] == "0", "names of any letters lead to their pictures"
    wide, room = map(int, found["wide"].split("/"))
    assert wide <= room
