"""The page as it is served: to whom, with which limits, and what is left of it."""

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from animate_samples import run
from fewshot_reenact.app import serving
from fewshot_reenact.app.guards import NoAddresses, OwnPagesOnly, names_an_address
from fewshot_reenact.app.serving import remove_leftovers, serve
from fewshot_reenact.app.terms import Limits
from fewshot_reenact.errors import UsageError, how_to_add
from fewshot_reenact.files import held_folder
from local_ports import free_port

GRADIO = importlib.util.find_spec("gradio") is not None


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not there
    result = run("ui", "--port", free_port())
    assert result.exit_code == 2
    assert f"gradio is needed: {how_to_add('ui')}" in result.stderr


# ---- the page as it is served


def test_a_port_that_is_taken_is_one_line():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run("ui", "--port", port)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}: cannot be served there" in result.stderr and "choose another --port" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_folders_of_killed_pages_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone, held, fresh, other = (tmp_path / name for name in ("reenact-ui-a", "reenact-ui-b", "reenact-ui-c", "mine"))
    for folder in (gone, held, fresh, other):
        (folder / "put-in").mkdir(parents=True)
        (folder / "put-in" / "ann.jpg").write_bytes(b"a person")
    with held_folder(held, "in use"):
        for folder in (gone, held, other):
            os.utime(folder, (0, 0))
        remove_leftovers()
    assert not gone.exists() and all((folder / "put-in" / "ann.jpg").exists() for folder in (held, fresh, other))


def status(port: int, host: str, **headers: str) -> int:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": host, **headers})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return int(opener.open(asked, timeout=30).status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.skipif(not GRADIO or sys.platform == "win32", reason="needs the extra ui")
@pytest.mark.slow
def test_it_answers_to_this_machines_names_only_and_leaves_nothing(tmp_path: Path):
    port = free_port()
    command = [sys.executable, "-m", "fewshot_reenact", "ui", "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        assert [status(port, f"{host}:{port}") for host in ("127.0.0.1", "localhost")] == [200, 200]
        assert status(port, "rebound.example") == 400, "a page on the net whose name was made to lead here"
        assert status(port, f"127.0.0.1:{port}", Origin="http://another.example") == 403, "a page of another site"
        assert status(port, f"127.0.0.1:{port}", Origin="null") == 403
        assert status(port, f"127.0.0.1:{port}", Origin=f"http://127.0.0.1:{port}") == 200
        assert list(tmp_path.glob("reenact-ui-*"))
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert not list(tmp_path.glob("reenact-ui-*"))


@pytest.mark.skipif(not GRADIO, reason="needs the extra ui")
@pytest.mark.slow
def test_limits_and_names_reach_the_server(monkeypatch: pytest.MonkeyPatch):
    import gradio

    given: dict[str, object] = {}
    monkeypatch.setattr(gradio.Blocks, "launch", lambda page, **options: given.update(options))
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda page: None)
    serve("127.0.0.1", free_port(), False, say=lambda line: None)
    assert given["max_file_size"] == "2000mb" and given["share"] is False and given["strict_cors"] is True
    assert len(given["app_kwargs"]["middleware"]) == 3 and given["auth"] is None  # type: ignore[index]
    serve("0.0.0.0", free_port(), False, limits=Limits(upload_mb=5), auth=("ann", "secret"), say=lambda line: None)
    assert given["max_file_size"] == "5mb" and given["auth"] == ("ann", "secret")
    guards = [one.cls for one in given["app_kwargs"]["middleware"]]  # type: ignore[index]
    assert guards == [OwnPagesOnly, NoAddresses], "served to others, by whatever name, but not to other sites' pages"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"data": [{"path": "http://example.com/a.png", "meta": {"_type": "gradio.FileData"}}]}, True),
        ({"data": [[{"path": "HTTPS://example.com/a.png"}]]}, True),
        (
            {"data": ["http://example.com/", {"path": "/tmp/reenact-ui-a/put-in/a.png", "url": "http://127.0.0.1/a"}]},
            False,
        ),
    ],
)
def test_files_by_address_are_not_fetched(data: object, named: bool):
    body = json.dumps(data).encode()
    assert names_an_address(body) == named and not names_an_address(b"no JSON")
    seen: list[bytes] = []

    async def app(scope: object, receive: Any, send: Any) -> None:
        seen.append((await receive())["body"])

    parts = [{"type": "http.request", "body": body[:9], "more_body": True}, {"type": "http.request", "body": body[9:]}]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pytest.importorskip("starlette")
    asyncio.run(NoAddresses(app)({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive, send))
    assert (seen, [one["status"] for one in sent[:1]]) == (([], [400]) if named else ([body], []))


def test_nobody_else_is_served_without_a_password(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="--auth NAME"):
        serve("0.0.0.0", free_port(), False)
    told: list[object] = []
    monkeypatch.setattr(serving, "serve", lambda *args, **more: told.append(more["auth"]))
    monkeypatch.setenv("REENACT_UI_PASSWORD", "secret")
    assert run("ui", "--host", "0.0.0.0", "--auth", "ann").exit_code == 0 and told == [("ann", "secret")]
    monkeypatch.setenv("REENACT_UI_PASSWORD", "")
    assert run("ui", "--auth", "ann").exit_code == 2
    monkeypatch.delenv("REENACT_UI_PASSWORD")
    nobody = run("ui", "--auth", "ann")  # as in a container, where there is no terminal
    assert nobody.exit_code == 2 and "set REENACT_UI_PASSWORD" in nobody.stderr
