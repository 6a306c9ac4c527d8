"""A time-stamp authority (RFC 3161) on this machine: OpenSSL stamps, a server speaks HTTP."""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_EXTENSIONS = "[tsa]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n"
_SETTINGS = (
    "[tsa]\ndefault_tsa=one\n[one]\nserial={0}/serial\ndefault_policy=1.2.3.4.1\ndigests=sha256,sha384,sha512\n"
    "signer_digest=sha256\nsigner_cert={0}/tsa.pem\nsigner_key={0}/tsa.key\ncerts={0}/root.pem\ness_cert_id_alg=sha256\n"
)


class Authority:
    """asked: how often somebody came. answers: "stamps", "fails" (HTTP 500), "junk", "rejects" (by the protocol) or
    "another's" (a stamp of another hash).
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.answers, self.url = folder, 0, "stamps", ""
        self._openssl = shutil.which("openssl") or pytest.skip("needs openssl to stamp")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        (folder / "extensions").write_text(_EXTENSIONS)
        (folder / "settings").write_text(_SETTINGS.format(folder))
        self._run("req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Root", "-days", "900")
        self._run("req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/O=Test/CN=Test TSA")
        self._run(
            "x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
            "-days", "800", "-extfile", "extensions", "-extensions", "tsa", "-out", "tsa.pem",
        )  # fmt: skip

    @property
    def root(self) -> Path:
        """The certificate to trust."""
        return self.folder / "root.pem"

    def reply(self, query: bytes) -> bytes:
        """What it answers to a request."""
        self.asked += 1
        if self.answers == "junk":
            return b"junk"
        if self.answers == "rejects":
            return bytes.fromhex("30053003020102")  # TimeStampResp with PKIStatus 2 (rejection) and no stamp
        (self.folder / "query").write_bytes(query)
        if self.answers == "another's":
            self._run("ts", "-query", "-data", "settings", "-sha256", "-cert", "-out", "query")
        self._run("ts", "-reply", "-config", "settings", "-queryfile", "query", "-out", "reply")
        return (self.folder / "reply").read_bytes()

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], cwd=self.folder, check=True, capture_output=True, timeout=30)


@contextlib.contextmanager
def authority(folder: Path) -> Iterator[Authority]:
    """One that can be asked at its url, as long as the context lasts."""
    one = Authority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = one.reply(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(500 if one.answers == "fails" else 200)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        one.url = f"http://127.0.0.1:{server.server_port}/stamp"
        yield one
        server.shutdown()
