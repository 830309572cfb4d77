"""Which API is believed to be there, and which process is believed to be it."""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.config.errors import MachineError
from tasks.runtime.prefect_api import server


class Healthy(BaseHTTPRequestHandler):
    """Answers as any web server does."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not said."""


class Guarded(Healthy):
    status = 401


class Broken(Healthy):
    status = 500


@contextmanager
def web(kind: type[Healthy] = Healthy, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A web server; its API's URL."""
    found = HTTPServer(("127.0.0.1", 0), kind)
    if tls:
        found.socket = tls.wrap_socket(found.socket, server_side=True)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://localhost:{found.server_port}/api"
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(server, "home", lambda: tmp_path)
    return tmp_path


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these words in its command line that waits."""
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, *words], stdin=subprocess.PIPE) as found:
        yield found
        found.kill()


def test_a_stranger_s_process_is_not_signalled(home: Path) -> None:
    with web() as url, process("anything") as stranger:
        (home / "server.json").write_text(json.dumps({"url": url, "pid": stranger.pid}))
        with pytest.raises(MachineError, match=f"process {stranger.pid} here is not that server"):
            server.stop()
        assert stranger.poll() is None and (home / "server.json").exists()
        assert server.running()  # it can be used all the same


def test_another_home_s_server_is_not_signalled(home: Path) -> None:
    with process(server.SERVES, "--home", str(home / "other")) as stranger:
        (home / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1/api", "pid": stranger.pid}))
        assert not server.stop()
        assert stranger.poll() is None and not (home / "server.json").exists()


def test_our_own_is_stopped_even_if_it_says_nothing(home: Path) -> None:
    with process(server.SERVES, "--home", str(home)) as ours:
        (home / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1/api", "pid": ours.pid}))
        assert server.stop()
        assert ours.wait() == -15


STATES = [b"", b"\xff", b"[]", b"{}", b'{"url": 1, "pid": 1}', b'{"url": "x", "pid": 99999999999999999999}',
          b'{"url": "x", "pid": -1}', b'{"url": "x", "pid": 0}']  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_torn_record_is_no_server(state: bytes, home: Path) -> None:
    (home / "server.json").write_bytes(state)
    assert server.running() is None
    assert server.stop() is False


@pytest.mark.parametrize(("kind", "said"), [(Healthy, None), (Guarded, None), (Broken, "status 500")])
def test_who_wants_to_know_who_asks_answers(kind: type[Healthy], said: str | None) -> None:
    with web(kind) as url:
        assert server.silence(url) == said


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate of nobody's, and its key."""
    from werkzeug.serving import make_ssl_devcert

    return make_ssl_devcert(str(tmp_path_factory.mktemp("tls") / "tls"), host="localhost")


PREFECT = "PREFECT_API_SSL_CERT_FILE", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY"


@pytest.mark.parametrize("by", [*PREFECT, "profile", None])
def test_a_private_certificate_is_trusted_as_prefect_trusts_it(
    by: str | None, private: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*private)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    if by == "profile":
        (tmp_path / "profiles.toml").write_text(
            f'active = "mine"\n[profiles.mine]\nPREFECT_API_SSL_CERT_FILE = "{private[0]}"\n'
        )
    elif by:
        monkeypatch.setenv(by, private[0] if by == PREFECT[0] else "true")
    with web(tls=tls) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        if by:
            with server.api() as found:
                assert found.url == url
            return
        with pytest.raises(MachineError, match=r"does not answer .*certificate"), server.api():
            pass


def test_a_secret_in_the_address_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://me:hunter2@127.0.0.1:1/api")
    with pytest.raises(MachineError) as error, server.api():
        pass
    assert "hunter2" not in str(error.value) and os.environ["PREFECT_API_URL"] not in str(error.value)


def test_a_signal_to_the_run_s_group_does_not_reach_its_api(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(home))
    with server.api() as found:
        assert found.child is not None
        assert os.getpgid(found.child.pid) != os.getpgid(0) and os.getsid(found.child.pid) != os.getsid(0)
