"""The page through its API, as other programs call it, and what it refuses."""

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ldm.embedding_files import read_words
from ldm.parameters import picture_parameters
from tests.conftest import EMBEDDING, ROOT
from webui.app import serve
from webui.flags import LOCAL, free_port, get_parser

pytestmark = pytest.mark.slow
gradio_client = pytest.importorskip("gradio_client")
PICTURES = sorted((ROOT / "dataset/green_apple").glob("*.png"))


def opened(folder, *arguments):
    """(the page's server, its address), on folders of its own."""
    urls = []
    opt = get_parser().parse_args(["--logdir", str(folder / "logs"), "--outdir", str(folder / "out"), *arguments])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    opt.port = free_port(LOCAL[0], 7900 + 50 * worker)  # two that look at once would find the same
    return serve(opt, urls.append, block=False), urls[0]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    from tests.webui.conftest import example

    folder = tmp_path_factory.mktemp("page")
    (folder / "logs").mkdir()
    example(folder / "logs")
    blocks, url = opened(folder)
    yield url
    blocks.close()


@pytest.fixture
def client(url):
    return gradio_client.Client(url, verbose=False)


def words(client) -> dict[str, str]:
    """{name: id} of the words that the page lists."""
    names, chooser, *_ = client.predict(None, api_name="/words")
    return {label: id for label, id in chooser["choices"]} | dict.fromkeys(
        set(names) - {label for label, _ in chooser["choices"]}, "")


def test_pictures_are_drawn_with_a_word_and_draw_themselves_again(client):
    gallery, going, notes = client.predict(
        "a <green_apple> on a blue background", "", "auto", "ddim", 3, None, 5, None, None, 2, 1, 0, api_name="/draw")
    assert len(gallery) == 2 and "2 pictures" in going
    files = [item["image"] for item in gallery]
    assert [picture_parameters(f).settings["Seed"] for f in files] == ["5", "6"], "downloads carry their parameters"
    form = client.predict(gradio_client.handle_file(files[1]), api_name="/like")
    assert form[0] == "a <green_apple> on a blue background" and form[6] == 6 and form[4] == 3


def test_a_word_comes_as_a_file_and_goes_as_one(client):
    assert "<green_apple>" in words(client)
    _, said, _ = client.predict(gradio_client.handle_file(str(EMBEDDING)), api_name="/import_word")
    assert "&lt;word&gt;" in said
    id = words(client)["<word>"]
    file = client.predict(id, "kohya", api_name="/export_word")
    assert list(read_words(file["value"] if isinstance(file, dict) else file).vectors) == ["<word>"]
    client.predict(id, "<pomme>", api_name="/rename")
    assert "<pomme>" in words(client)
    assert client.predict(words(client)["<pomme>"], api_name="/about")[0].count("<pomme>") == 0, "names are escaped"
    client.predict(words(client)["<pomme>"], api_name="/delete")
    assert not {"<pomme>", "<word>"} & set(words(client))


def test_the_grid_compares(client):
    id = words(client)["<green_apple>"]
    table, going, sheet = client.predict("a *", [id], True, True, None, 2, 1, api_name="/compare")
    assert table.count("<img") == 3 and "without: fruit" in table and "v2" in table
    table, *_ = client.predict("a *", [], True, True, id, 2, 1, api_name="/compare")
    assert [f"step {n}" in table for n in (100, 200, 300)] == [True] * 3


def test_suggestions_and_advice_come_from_the_pictures(client):
    result = client.predict([gradio_client.handle_file(str(p)) for p in PICTURES[:2]], False, api_name="/pictures")
    assert "Three to five pictures" in result[-1]
    kind, said = client.predict(False, api_name="/suggest")
    assert kind in said


def test_a_run_is_begun_stopped_and_forgotten(client):
    client.predict([gradio_client.handle_file(str(p)) for p in PICTURES], False, api_name="/pictures")
    *_, runs, shown = client.predict("fruit", "", 1000, 500, False, False, 23, api_name="/learn")
    id = runs["value"]
    assert "&lt;my-fruit&gt;" in shown
    with pytest.raises(Exception, match="stop the run first"):
        client.predict(id, api_name="/forget")
    with pytest.raises(Exception, match="show some pictures"):
        client.predict("fruit", "", 1000, 500, False, False, 23, api_name="/learn")
    client.predict(id, api_name="/stop")
    end = time.monotonic() + 120
    while "stopped" not in (shown := client.predict(id, api_name="/runs")[1]):
        assert time.monotonic() < end, shown
        time.sleep(0.3)
    runs, *_ = client.predict(id, api_name="/forget")
    assert id not in [choice for _, choice in runs["choices"]]


@pytest.mark.parametrize("id", ["../../etc/passwd", "/etc/passwd", "no such word"])
def test_paths_are_no_ids(client, id):
    for api_name, more in (("/about", ()), ("/export_word", ("kohya",)), ("/rename", ("<x>",)), ("/delete", ())):
        with pytest.raises(Exception, match="not in the list|not there any more"):
            client.predict(id, *more, api_name=api_name)
    for api_name in ("/stop", "/go_on", "/forget"):
        with pytest.raises(Exception, match="not in the list"):
            client.predict(id, api_name=api_name)


def post(url, api_name, *data) -> str:
    """What a call answers that no client has prepared: the stream of its events."""
    request = urllib.request.Request(f"{url}gradio_api/call/{api_name}", json.dumps({"data": data}).encode(),
                                     {"Content-Type": "application/json"})
    event = json.loads(urllib.request.urlopen(request).read())["event_id"]
    return urllib.request.urlopen(f"{url}gradio_api/call/{api_name}/{event}").read().decode()


@pytest.mark.parametrize("path", ["/etc/passwd", str(EMBEDDING), "http://127.0.0.1:9/x.png", "file:///etc/passwd"])
def test_a_file_that_was_not_sent_is_not_read(url, path):
    sent = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
    for api_name, data in (("like", [sent]), ("import_word", [sent]), ("pictures", [[sent], False])):
        answer = post(url, api_name, *data)
        assert "event: error" in answer and "event: complete" not in answer, (api_name, answer)
        assert "readable" not in answer and "Connection" not in answer and "does not say" not in answer, answer


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "README.md"), str(EMBEDDING)])
def test_files_of_this_machine_are_not_served(url, path):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{url}gradio_api/file={path}")
    assert error.value.code in (403, 404)


def test_with_a_password_nothing_is_shown_without_it(tmp_path):
    (tmp_path / "logs").mkdir()
    blocks, url = opened(tmp_path, "--auth", "me:correct horse")
    try:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{url}gradio_api/info")
        assert error.value.code == 401
        page = urllib.request.urlopen(url).read().decode()
        assert "auth_required" in page and '"components":[]' in page.replace(" ", "")
        client = gradio_client.Client(url, auth=("me", "correct horse"), verbose=False)
        assert client.predict(None, api_name="/words")[0] == []
    finally:
        blocks.close()


def test_a_page_of_another_site_reads_nothing(url):
    request = urllib.request.Request(f"{url}config", headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    request = urllib.request.Request(f"{url}config", headers={"Origin": "http://elsewhere.example"})
    answer = urllib.request.urlopen(request)
    assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}


def test_the_page_names_no_other_machine(url):
    config = json.loads(urllib.request.urlopen(f"{url}config").read())
    assert config["analytics_enabled"] is False and not config.get("footer_links")
    style = urllib.request.urlopen(f"{url}theme.css").read().decode()
    assert "http" not in style.replace("http://www.w3.org/2000/svg", "")
    assert Path(config.get("space_id") or ".") == Path(".")
