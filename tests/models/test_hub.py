"""Models on the Hugging Face Hub: by a stub of its library, and by the library itself against a server of ours."""

import hashlib
import http.server
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from animate_samples import complaint, run
from fewshot_reenact.errors import MissingExtra, ModelError, UsageError
from fewshot_reenact.models.checkpoint import load_model, model_file
from fewshot_reenact.models.hub import OnHub, downloaded, fetch, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class RepositoryNotFoundError(Exception):
    pass


class StubHub:
    """The names of the library that are used, over a folder; what was asked for is noted."""

    def __init__(self, source: Path, cache: Path) -> None:
        self.source, self.cache, self.calls = source, cache, []
        self.sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        self.siblings = ["README.md", "model.safetensors"]

    def kept(self, repo_id, revision):
        return self.cache / f"{repo_id.replace('/', '--')}@{revision}"

    def try_to_load_from_cache(self, repo_id, filename, *, revision):
        kept = self.kept(repo_id, revision)
        return str(kept) if kept.is_file() else None

    def hf_hub_download(self, repo_id, filename, *, revision):
        self.calls.append((repo_id, filename, revision))
        self.kept(repo_id, revision).write_bytes(self.source.read_bytes())
        return str(self.kept(repo_id, revision))

    def model_info(self, repo_id, *, revision, files_metadata):
        assert files_metadata
        self.calls.append((repo_id, revision))
        if repo_id == "no/body":
            raise RepositoryNotFoundError("401 Client Error")
        if repo_id == "off/line":
            raise OSError("no route to host\nmore")
        size = self.source.stat().st_size
        some = [SimpleNamespace(rfilename=name, size=size, lfs={"sha256": self.sha256}) for name in self.siblings]
        return SimpleNamespace(sha=COMMIT, siblings=some)


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubHub:
    stub = StubHub(tiny_model, tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stub)
    return stub


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hf:me/mine", OnHub("me/mine")),
        ("hf:me/mine@v1.0", OnHub("me/mine", "v1.0")),
        ("hf:me/my_model.2@refs/pr/1", OnHub("me/my_model.2", "refs/pr/1")),
    ],
)
def test_names(text, found):
    assert parse(text) == parse(Path(text)) == found


@pytest.mark.parametrize(
    "text", ["hf:", "hf:me", "hf:me/", "hf:me/mine@", "hf:a/b/c", "hf:../x", "hf:a/b@../c", "hf: a/b"]
)
def test_no_names(text):
    with pytest.raises(UsageError, match="write hf:OWNER/NAME"):
        parse(text)


def test_a_model_is_announced_then_downloaded_then_kept(hub, caplog):
    caplog.set_level(logging.WARNING)
    path = fetch("hf:me/mine")
    assert hub.calls == [("me/mine", "main"), ("me/mine", "model.safetensors", "main")]
    before, after = (record.getMessage() for record in caplog.records)
    size = f"{hub.source.stat().st_size / 1e6:.1f} MB"
    assert COMMIT[:12] in before and size in before and hub.sha256 in before and "downloading" in before
    assert hub.sha256 in after and str(path) in after
    caplog.clear()
    assert model_file("hf:me/mine") == path and len(hub.calls) == 2 and not caplog.records, "the net is asked once"
    assert load_model("hf:me/mine").dims.size == 64
    fetch("hf:me/mine@other")
    assert hub.calls[-1] == ("me/mine", "model.safetensors", "other")


def test_what_arrives_must_be_what_was_announced(hub):
    hub.sha256 = "0" * 64
    with pytest.raises(ModelError, match="the Hub states 0000"):
        fetch("hf:me/mine")


@pytest.mark.parametrize(
    ("name", "says"),
    [("no/body", "no such model on the Hub"), ("off/line", r"cannot be downloaded \(no route to host\)")],
)
def test_what_cannot_be_had(hub, name, says):
    with pytest.raises(ModelError, match=says):
        fetch(f"hf:{name}")


def test_a_repository_of_something_else(hub):
    hub.siblings = ["pytorch_model.bin"]
    with pytest.raises(ModelError, match=r"hf:me/mine@main: holds no model\.safetensors"):
        fetch("hf:me/mine")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="hub"):
        fetch("hf:me/mine")
    assert downloaded() == []


def test_the_command_line_takes_it(hub, assets, tmp_path):
    args = ["animate", assets / "astronaut.jpg", "motion:blink", "--end", "0.2", "--frame", "crop", "--size", "256"]
    result = run(*args, "-o", tmp_path / "a.mp4", "--model", "hf:me/mine@v1", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert "reenact: hf:me/mine@v1 (commit" in result.stderr and hub.sha256 in result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["model"] == "hf:me/mine@v1" and report["model_sha256"] == hub.sha256
    args = [*args, "-o", tmp_path / "b.mp4"]
    assert "no such model on the Hub" in complaint(run(*args, "--model", "hf:no/body"), 4)
    assert "write hf:OWNER/NAME" in complaint(run(*args, "--model", "hf:body"), 2)
    assert not (tmp_path / "b.mp4").exists()


# ---- the library itself


class Handler(http.server.BaseHTTPRequestHandler):
    """What the Hub answers for one model, `me/tiny`."""

    data: bytes
    asked: list[str]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.asked.append(f"{self.command} {self.path}")
        digest = hashlib.sha256(self.data).hexdigest()
        if self.path.startswith("/api/models/me/tiny/revision/main"):
            lfs = {"sha256": digest, "size": len(self.data), "pointerSize": 130}
            one = {"rfilename": "model.safetensors", "size": len(self.data), "blobId": "0" * 40, "lfs": lfs}
            body, more = json.dumps({"id": "me/tiny", "sha": COMMIT, "siblings": [one]}).encode(), {}
        elif re.fullmatch(rf"/me/tiny/resolve/(main|{COMMIT})/model\.safetensors", self.path):
            body, more = self.data, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'}
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tiny_model: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    handler = type("Here", (Handler,), {"data": tiny_model.read_bytes(), "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_the_library_itself(server, tiny_model, tmp_path):
    """From a server that answers as the Hub does; the second time nothing is asked; then it is listed and verified."""
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    address = f"http://127.0.0.1:{server.server_address[1]}"
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "NO_PROXY": "*"}

    def reenact(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fewshot_reenact", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    done = reenact("models", "hf:me/tiny")
    assert done.returncode == 0, done.stderr
    assert f"(commit {COMMIT[:12]}): downloading" in done.stderr
    assert digest in done.stderr and digest[:12] in done.stdout
    asked = len(server.RequestHandlerClass.asked)
    assert all("me/tiny" in one for one in server.RequestHandlerClass.asked), "the Hub is asked for the model alone"
    assert reenact("models", "hf:me/tiny").returncode == 0 and len(server.RequestHandlerClass.asked) == asked
    assert "no such model on the Hub" in reenact("models", "hf:me/other").stderr
    (row,) = [row for row in json.loads(reenact("models", "--json").stdout) if row["name"] == "hf:me/tiny@main"]
    assert row["state"] == "ok" and row["sha256"] == digest
    Path(row["path"]).resolve().write_bytes(b"changed")
    done = reenact("models")
    assert done.returncode == 4 and "differs from what the Hub states" in done.stdout
