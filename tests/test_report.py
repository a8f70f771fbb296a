"""The history of a run and its report: exact over resuming, self-contained, readable with and without a browser."""

import html.parser
import json
import math
import re
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import train_new
from check import report as check_report
from ldm.history import FILE, PICTURES, read_history
from report.charts import MOST_ROWS, Series, chart, nice_ticks, smoothed, spread
from report.run import gather, write_report
from tests.conftest import EMBEDDING, ROOT, assert_one_line_error, run_main
from tests.runs import EXACT, flags, only_run
from training.history import History, words_now

GRIDS = ("lightning.callbacks.image_logger.params.batch_frequency=2",
         "lightning.callbacks.image_logger.params.log_images_kwargs.ddim_steps=1",
         "lightning.callbacks.image_logger.params.disabled=false", "lightning.trainer.log_every_n_steps=1")


def learn(logdir, steps, *arguments):
    result = run_main(train_new.main, *flags(logdir), "-t", *EXACT, *GRIDS, f"lightning.trainer.max_steps={steps}",
                      *arguments)
    assert result.status == 0, result.err
    return only_run(logdir), result


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four steps, with what was said of it."""
    return learn(tmp_path_factory.mktemp("whole"), 4, "--json")


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "a run")


# The history ---------------------------------------------------------------------------------------------------------

def test_a_line_for_each_step_says_loss_and_words(whole):
    lines = read_history(whole[0])
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    start, last = lines[0]["words"]["*"], lines[-1]["words"]["*"]
    assert start["distance"] == 0 and start["nearest"][0][0] == ["bird", 1.0]
    assert last["distance"] > 0 and last["norm"] > 0 and len(last["nearest"][0]) == 5
    for line in lines[1:]:
        known = [value for value in line["quartiles"] if value is not None]
        assert len(known) == 1 and known[0] == pytest.approx(line["loss"], rel=1e-5), "a picture a step, a mean of one"


def test_tensorboard_has_the_same_numbers(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(whole[0] / "tensorboard"))
    events.Reload()
    last = read_history(whole[0])[-1]
    assert events.Scalars("word/distance")[-1].value == pytest.approx(last["words"]["*"]["distance"], rel=1e-4)
    assert events.Scalars("word/norm")[-1].step == 4
    assert events.Scalars("train/loss")[-1].value == pytest.approx(last["loss"], rel=1e-4)
    assert any(tag.startswith("train/loss_quartile_") for tag in events.Tags()["scalars"])
    assert "word/nearest/text_summary" in events.Tags()["tensors"] and "previews" in events.Tags()["images"]


@pytest.mark.slow
def test_the_history_of_a_resumed_run_is_that_of_one_that_was_not_stopped(whole, tmp_path):
    part, _ = learn(tmp_path, 3)
    shutil.copy(part / "checkpoints/last-previous.ckpt", part / "checkpoints/last.ckpt")  # as killed before the last
    result = run_main(train_new.main, "-t", "--resume", part, "lightning.trainer.max_steps=4")
    assert result.status == 0 and "going on at step 2" in result.err
    assert (part / FILE).read_bytes() == (whole[0] / FILE).read_bytes()


def test_what_the_model_sees_is_kept(whole):
    with Image.open(whole[0] / PICTURES) as sheet:
        known = json.loads(sheet.info["pictures"])
        assert sheet.size == (5 * 128, 128)
    assert {entry["name"] for entry in known["pictures"]} == {p.name for p in (ROOT / "dataset/flamingo").glob("*.png")}
    assert all("*" in entry["caption"] for entry in known["pictures"]) and "5 pictures" in known["summary"][0]


def test_lines_that_are_none_are_passed_over(tmp_path):
    (tmp_path / FILE).write_text('{"step": 2}\nno line\n[1]\n{"step": "x"}\n{"step": 1}\n{"step": 3, "lo')
    assert [line["step"] for line in read_history(tmp_path)] == [1, 2]
    assert read_history(tmp_path / "none") == []


def test_words_are_measured_from_their_start(emoji_model):
    found = words_now(emoji_model)
    assert set(found) == set(emoji_model.embedding_manager.string_to_param_dict)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 999), st.floats(0, 10)), min_size=1, max_size=4), min_size=1,
                max_size=5))
def test_quartiles_are_means_of_their_pictures(batches):
    history, model = History(lambda: ROOT), type("Model", (), {"timestep_range": (0, 1000)})
    history.waiting = [(1, torch.tensor(sum(e for _, e in b) / len(b)), torch.tensor([t for t, _ in b]),
                        torch.tensor([e for _, e in b])) for b in batches]
    history.count(model)
    everything = [pair for batch in batches for pair in batch]
    for n, value in enumerate(history.lines[1]["quartiles"]):
        errors = [error for t, error in everything if t // 250 == n]
        assert (value is None) == (not errors) and (not errors or value == pytest.approx(
            sum(errors) / len(errors), rel=1e-4, abs=1e-6))


# The report ----------------------------------------------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_the_report_is_there_when_the_run_ends(whole):
    run, result = whole
    assert f"{run / 'report.html'}: pictures, curves and settings of the run" in result.err
    told = result.err[result.err.index("try next:"):].splitlines()[1:3]
    assert told[0].split()[:2] == ["python", "txt2img.py"] and "check.check_learned" in told[1]
    assert json.loads(result.out) == {"run": str(run), "embedding": str(run / "checkpoints/embeddings.pt"),
                                      "best": str(run / "checkpoints/embeddings.pt"),
                                      "report": str(run / "report.html")}
    said = result.err.index
    assert said("5 pictures from") < said("4 steps of 1 picture") < said("run folder") < said("learned at step 4")


def test_the_report_stands_alone_and_says_everything(whole):
    page = page_of(whole[0])
    addresses = [value for _, a in page.tags for name, value in a.items() if name in ("src", "href", "srcset")]
    assert addresses and all(address.startswith("data:") for address in addresses)
    text = " ".join(page.words)
    assert "://" not in text and not page.all("iframe")
    for words in ("The word *", "bird", "What it was learned from", "How it grew", "Loss by timestep", "Nearest words",
                  "Length of the vector", "Distance from the start", "Every setting", "params.batch_size",
                  "python txt2img.py --embedding_path", "--resume", "check.check_learned"):
        assert words in text, words
    frames = [a for a in page.all("div") if a.get("class") == "frame"]
    assert [a["data-step"] for a in frames] == ["0", "2", "4"] and not any("hidden" in a for a in frames)
    assert any("hidden" in a for a in page.all("div") if a.get("class") == "slider"), "without a script it is of no use"


def test_the_report_can_be_heard(whole):
    page = page_of(whole[0])
    assert page.all("html")[0]["lang"] == "en" and page.all("title") and len(page.all("h1")) == 1
    assert page.all("img") and all(len(a["alt"]) > 3 for a in page.all("img"))
    drawn = [a for a in page.all("svg") if a.get("role") == "img"]
    assert drawn and all(len(a["aria-label"]) > 20 for a in drawn)
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg") if a.get("role") != "img")
    names = {a["id"] for _, a in page.tags if "id" in a}
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= names
    assert {a["for"] for a in [*page.all("label"), *page.all("output")]} <= names
    tables = page.all("table")
    assert len(tables) > len(drawn), "numbers behind each chart"


def test_a_command_writes_it_again(run):
    (run / "report.html").unlink()
    result = run_main(check_report.main, run, "--json")
    assert result.status == 0 and json.loads(result.out) == {"reports": [str(run / "report.html")]}
    assert "'" + str(run / "checkpoints/embeddings.pt") + "'" in " ".join(page_of(run).words), "quoted for a shell"


def test_the_command_needs_no_torch(whole, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "run")
    script = ("import sys\nsys.path.insert(0, '.')\nfrom check.report import main\n"
              f"main([{str(run)!r}])\nassert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("make, words", [(lambda folder: None, ["no such run folder"]),
                                         (lambda folder: folder.mkdir(), ["no run folder", "configs/", "logs/RUN"])])
def test_what_is_no_run_is_one_line(tmp_path, make, words):
    make(tmp_path / "x")
    assert_one_line_error(run_main(check_report.main, tmp_path / "x"), "x", *words)
    assert not list(tmp_path.rglob("report.html"))


def test_what_is_damaged_or_missing_is_left_out(run):
    shutil.rmtree(run / "images/previews")
    (run / PICTURES).write_bytes(b"no picture")
    (run / FILE).write_text("no history\n")
    (run / "ranking.json").write_text("{")
    next((run / "images/train").glob("samples_gs-*")).write_bytes(b"\x89PNG\r\n")
    write_report(run)
    page = page_of(run)
    assert "No history was kept" in " ".join(page.words) and page.all("img")
    for folder in ("images", "tensorboard"):
        shutil.rmtree(run / folder)
    write_report(run)
    assert not page_of(run).all("img")


def test_a_run_of_an_earlier_version_has_a_report(tmp_path):
    shutil.copytree(ROOT / "logs/example_green_apple", tmp_path / "old", ignore=shutil.ignore_patterns(
        "history.jsonl", "ranking.*", "previews", "pictures.png", "embeddings_best.pt", "report.html"))
    write_report(tmp_path / "old")
    assert "started from" in " ".join(page_of(tmp_path / "old").words)


def test_names_are_text(run):
    (project,) = run.glob("configs/*-project.yaml")
    project.write_text(project.read_text().replace("bird", '"</script><script>alert(1)</script>"'))
    write_report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_a_report_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    import report.run
    from ldm.errors import UserError

    def full(*_):
        raise UserError("report.html: could not be written (No space left on device)")

    monkeypatch.setattr(report.run, "write_report", full)
    _, result = learn(tmp_path, 1, "--json")
    assert "warning: no report: report.html: could not be written" in result.err
    assert json.loads(result.out)["report"] is None and "try next:" in result.err


def test_variants_and_other_models_have_their_own_commands(run):
    (project,) = run.glob("configs/*-project.yaml")
    text = project.read_text().replace("models/ldm/emoji/model.ckpt", "my models/model.ckpt")
    project.write_text(text.replace("ldm.models.diffusion.ddpm.LatentDiffusion",
                                    "improvement.v1.post_BERT.PostBERTDiffusion").replace(
        "ldm.modules.embedding_manager.EmbeddingManager", "improvement.v1.post_BERT.PostBERTManager"))
    commands = dict(gather(run)["commands"])
    assert commands["Draw with the word"].startswith("python txt2img_v1.py")
    assert commands["Go on learning"].startswith("python train_new_v1.py -t --resume")
    assert "--variant v1" in commands["See it beside its pictures"]
    assert "my models/model.ckpt' --prompt" in commands["Draw with the word"]


# Charts --------------------------------------------------------------------------------------------------------------

numbers = st.floats(-1e6, 1e6, allow_nan=False)
points = st.lists(numbers, min_size=2, max_size=700).map(lambda values: list(enumerate(values)))


@settings(max_examples=100, deadline=None)
@given(points, st.booleans(), st.booleans())
def test_curves_stay_in_their_chart(values, faint, zero):
    values = [(step, abs(value)) for step, value in values] if zero else values
    drawn = chart("t", "a", [Series("one", values, faint), Series("two", smoothed(values))], zero)
    assert drawn is not None and len(drawn.lines) == 2
    for _, path, _ in drawn.lines:
        places = [tuple(map(float, pair.split(","))) for pair in re.findall(r"[-\d.]+,[-\d.]+", path)]
        assert len(places) <= 500 and all(0 <= x <= 1000 and 0 <= y <= 300 for x, y in places)
        assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert len(drawn.rows) <= MOST_ROWS and drawn.rows[0][0] == "0" and len(drawn.header) == len(drawn.rows[0])
    assert all(-1e-6 <= top <= 100 + 1e-6 for _, top in drawn.ticks) and drawn.words


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_few_and_inside(low, size):
    ticks = nice_ticks(low, low + size)
    slack = size * 1e-6 + 4 * math.ulp(abs(low) + size)
    assert len(ticks) <= 7 and all(low - slack <= tick <= low + size + slack for tick in ticks)


def test_means_begin_with_what_there_is():
    assert smoothed([(1, 4.0), (2, 4.0)]) == [(1, 4.0), (2, 4.0)]
    level = smoothed([(i, 1.0 + (-1) ** i) for i in range(200)])
    assert all(abs(value - 1) < 0.3 for _, value in level[50:])
    assert chart("t", "a", [Series("one", [(1, 2.0)])]) is None, "a point is no curve"
    assert spread(list(enumerate(range(10))), 3) == [(0, 0), (4, 4), (9, 9)]


def test_the_word_of_the_example_is_a_file(whole):
    assert EMBEDDING.is_file() and whole[0].is_dir()
