"""How far a run is, by what is in its folder."""

import time

from PIL import Image

from webui.jobs import FAILED, LEARNED, LEARNING, STOPPED, WAITING, Job
from webui.progress import Progress, loss_chart, read_progress, show, state_line


def test_steps_and_losses_are_those_of_tensorboard(apple):
    progress = read_progress(apple.run)
    assert progress.step == progress.most == 300 and progress.left == 0
    assert len(progress.losses) == 30 and progress.losses[0][0] == 10
    assert 0.1 < progress.seconds < 10
    assert loss_chart(progress.losses).count("<polyline") == 2


def test_the_words_pictures_are_shown_with_their_steps(apple):
    folder = apple.run / "images/previews"
    folder.mkdir(exist_ok=True)
    for step in range(0, 301, 10):
        Image.new("RGB", (192, 64), "red").save(folder / f"gs-{step:06}.png")
    html = show(Job("1", "<a&b>", (), state=LEARNED), read_progress(apple.run))
    assert html.count("<img") == 12 and "step 300" in html and "&lt;a&amp;b&gt;" in html and "<a&b>" not in html


def test_a_folder_with_nothing_in_it_yet(tmp_path):
    progress = read_progress(tmp_path)
    assert progress == Progress(0, None, (), None, 0.0, {}) and progress.left is None


def test_what_is_said_of_a_run():
    def line(state, progress=None, **values):
        return state_line(Job("1", "<x>", (), state=state, **values), progress)

    half = Progress(100, 300, ((90, 0.1), (100, 0.2)), 0.5, time.time(), {})
    assert line(WAITING) == "waits for its turn"
    assert line(LEARNING) == line(LEARNING, Progress(0, 300, (), None, 0.0, {})) == "getting ready"
    assert line(LEARNING, half) == "step 100 of at most 300, about 2 min left"
    assert line(LEARNING, half, asked_to_stop=True).startswith("stopping after step 100")
    assert line(LEARNING, Progress(300, 300, (), 0.5, time.time(), {})).endswith("choosing the best step")
    assert line(STOPPED, half) == "stopped at step 100"
    assert line(FAILED, said="error: no memory") == "failed: no memory"
