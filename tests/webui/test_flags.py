"""The flags of the page: who may see it."""

import socket

import pytest

from ldm.errors import UserError
from tests.conftest import assert_one_line_error, run_main
from webui.__main__ import main
from webui.flags import check, free_port, get_parser


def options(tmp_path, *arguments):
    return get_parser().parse_args(["--logdir", str(tmp_path / "l"), "--outdir", str(tmp_path / "o"), *arguments])


def test_it_answers_this_machine_alone_unless_told_otherwise(tmp_path):
    opt = options(tmp_path)
    assert opt.listen == "127.0.0.1" and opt.auth is None
    check(opt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("listen", [["--listen"], ["--listen", "192.168.0.5"], ["--listen", "::"]])
def test_other_machines_need_a_password(tmp_path, listen):
    with pytest.raises(UserError, match="--auth"):
        check(options(tmp_path, *listen))
    check(options(tmp_path, *listen, "--auth", "me:long enough"))


@pytest.mark.parametrize("auth", ["", "me", "me:", ":password1", "me:short"])
def test_a_password_is_one(tmp_path, auth):
    assert_one_line_error(run_main(main, "--logdir", tmp_path, f"--auth={auth}"), "--auth", "8 signs")


def test_a_port_that_is_taken_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) < port + 20
        with pytest.raises(UserError, match="--port"):
            free_port("127.0.0.1", port, 1)
