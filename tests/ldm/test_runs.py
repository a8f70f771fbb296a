"""What run folders are called, and where the paths of a stored config lead."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ldm.errors import UserError
from ldm.runs import find_resumed, relocated, run_name
from ldm.serialization import write_tensors

NOW = "2026-01-01T00-00-00"


@pytest.mark.parametrize("part", ["..", ".", "../x", "a/b", "/a", "a\\b", "-x", "a\nb", "a\0b", "\udcff", "n" * 300,
                                  "글" * 90])
@pytest.mark.parametrize("flag", ["name", "postfix"])
def test_a_name_that_leads_elsewhere_or_does_not_fit_is_one_line(flag, part):
    with pytest.raises(UserError, match="--name" if len(part) > 80 else f"--{flag}") as caught:
        run_name(NOW, "", **{"name": "n", flag: part})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("project", ["..", "a/../..", "/a", "a//b", "n" * 256, "./a", "-a"])
def test_a_project_stays_in_the_log_folder(project):
    with pytest.raises(UserError, match="--project"):
        run_name(NOW, "", "n", project=project)
    assert run_name(NOW, "", "n", project="a/b") == run_name(NOW, "", "n", project="a/") == f"{NOW}_n"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=300), st.text(max_size=120), st.text(max_size=120))
def test_whatever_the_names_the_folder_is_one_in_the_log_folder(name, postfix, project):
    try:
        folder = run_name(NOW, "", name, postfix, project)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    path = os.path.normpath(os.path.join("/logs", project, folder))
    assert path.startswith("/logs/") and path.endswith(folder) and "/" not in folder
    assert all(len(os.fsencode(part)) <= 255 for part in f"{path}-99".split("/"))


def test_paths_count_from_where_the_run_was_started_then_from_here(tmp_path, monkeypatch):
    started, here = tmp_path / "started", tmp_path / "here"
    for folder, names in ((started, ("both", "there")), (here, ("both", "now"))):
        for name in names:
            (folder / name).mkdir(parents=True)
    monkeypatch.chdir(here)

    def found(name, folder=started):
        config = OmegaConf.create({"run": {"folder": str(folder) if folder else None},
                                   "data": {"params": {"train": {"params": {"data_root": name, "key": name}}}}})
        params = relocated(config).data.params.train.params
        assert params.key == name, "what is no path stays"
        return params.data_root

    assert found("both") == str(started / "both") and found("there") == str(started / "there")
    assert found("now") == "now" and found("nowhere") == "nowhere" and found(str(here / "now")) == str(here / "now")
    assert found("dataset/flamingo").endswith("/dataset/flamingo") and found("both", None) == "both"


def test_without_anything_to_go_on_from_it_is_one_line(tmp_path):
    state = {"loops": {}, "optimizer_states": [], "state_dict": {"a": torch.zeros(1)}, "global_step": 3}
    for message, prepare in (
            ("no checkpoint there", lambda: (tmp_path / "checkpoints").mkdir()),
            ("no configs/", lambda: write_tensors(tmp_path / "checkpoints/last.ckpt", {"a": torch.zeros(1)})),
            ("not a training checkpoint", lambda: (tmp_path / "configs").mkdir() or (
                tmp_path / "configs/now-project.yaml").write_text("model: 1")),
            (None, lambda: write_tensors(tmp_path / "checkpoints/last.ckpt", state))):
        prepare()
        if message:
            with pytest.raises(UserError, match=f"--resume .*{message}"):
                find_resumed(str(tmp_path), NOW)
    assert find_resumed(str(tmp_path), NOW).state["global_step"] == 3
    assert find_resumed(str(tmp_path / "checkpoints/last.ckpt"), NOW).path == tmp_path


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_a_cut_off_state_is_passed_over_for_the_one_before_it(tmp_path_factory, data):
    run = tmp_path_factory.mktemp("run")
    (run / "configs").mkdir()
    (run / "configs/now-project.yaml").write_text("model: 1")
    for name, step in (("last-previous.ckpt", 1), ("last.ckpt", 2)):
        write_tensors(run / "checkpoints" / name, {"loops": {}, "optimizer_states": [], "state_dict": {},
                                                   "global_step": step})
    last = run / "checkpoints/last.ckpt"
    content = last.read_bytes()
    last.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert find_resumed(str(run), NOW).state["global_step"] == 1
    last.unlink()
    assert find_resumed(str(run), NOW).state["global_step"] == 1
