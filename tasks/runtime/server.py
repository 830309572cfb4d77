"""Which Prefect API a run talks to: one that is configured, else a local one that runs, else a child of ours."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tasks.config.errors import MachineError
from tasks.runtime.api_server import QUIET

STARTUP_SECONDS = 120.0
PORT = 4200


def home() -> Path:
    """Where a lasting local server keeps its database and says where it listens."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "finetune-flow" / "server"


def configured() -> str | None:
    """The API URL of the environment or of Prefect's active profile, found without importing Prefect."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    prefect_home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    try:
        profiles = tomllib.loads((prefect_home / "profiles.toml").read_text())
    except (FileNotFoundError, tomllib.TOMLDecodeError):
        return None
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    return profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether a Prefect API at `url` (ending in `/api`) is healthy."""
    try:
        with urlopen(f"{url}/health", timeout=seconds) as response:
            return response.status == 200
    except (URLError, OSError, ValueError):
        return False


def running() -> dict[str, str | int] | None:
    """`{"url", "pid"}` of the lasting local server, if it answers."""
    try:
        state = json.loads((home() / "server.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return state if answers(state["url"]) else None


class Server:
    """The API of one run: `url`, whether people can look at it (`visible`), and `ready()` to wait for it."""

    def __init__(self, url: str, child: subprocess.Popen[bytes] | None, folder: Path | None) -> None:
        self.url, self.child, self.folder = url, child, folder
        self.visible = child is None

    def ready(self) -> None:
        """Wait until the API answers.

        Raises:
            MachineError: it does not.
        """
        if self.child is None:
            return
        deadline = time.monotonic() + STARTUP_SECONDS
        while not answers(self.url, seconds=5.0):
            if self.child.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "log").read_text(errors="replace")[-2000:] if self.folder else ""
                raise MachineError(f"the local Prefect API did not start; its last words:\n{log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the child; a server that was there before is left alone."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def api() -> Iterator[Server]:
    """The API for one run. A child starts at once and is waited for by `ready()`, so that other work can overlap.

    Raises:
        MachineError: `PREFECT_API_URL` is set, and nothing answers there.
    """
    if url := configured():
        if not answers(url.rstrip("/"), seconds=10.0):
            raise MachineError(f"PREFECT_API_URL: {url} does not answer; start that server, or unset it to run without")
        yield Server(url, None, None)
        return
    if state := running():
        yield Server(str(state["url"]), None, None)
        return
    folder = Path(tempfile.mkdtemp(prefix=f"finetune-{os.getpid()}-"))
    server = _spawn(folder, 0, lasting=False)
    try:
        yield server
    finally:
        server.stop()


def start(port: int = PORT) -> dict[str, str | int]:
    """Start a lasting local server with the UI; return `{"url", "pid"}` once it answers."""
    if there := running():
        return there
    home().mkdir(parents=True, exist_ok=True)
    server = _spawn(home(), port, lasting=True)
    server.ready()
    assert server.child is not None
    state: dict[str, str | int] = {"url": server.url, "pid": server.child.pid}
    (home() / "server.json").write_text(json.dumps(state))
    return state


def stop() -> bool:
    """Stop the lasting local server; False if none runs."""
    state = running()
    (home() / "server.json").unlink(missing_ok=True)
    if state is None:
        return False
    os.kill(int(state["pid"]), signal.SIGTERM)
    deadline = time.monotonic() + 20
    while answers(str(state["url"]), 0.5) and time.monotonic() < deadline:
        time.sleep(0.1)
    return True


def _spawn(folder: Path, port: int, lasting: bool) -> Server:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        raise MachineError(
            f"port {port} is taken ({error.strerror}); choose another: finetune server start --port …"
        ) from error
    listening.listen(128)
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    command = [sys.executable, "-m", "tasks.runtime.api_server", "--socket", str(listening.fileno())]
    command += ["--home", str(folder), *([] if lasting else ["--parent", str(os.getpid())])]
    environment = {**os.environ, **QUIET, "PREFECT_UI_API_URL": f"{base}/api"}
    with (folder / "log").open("wb") as log:
        # A session of its own: Ctrl-C in a terminal must not take it away before it has heard how the run ended.
        child = subprocess.Popen(
            command, pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment, start_new_session=True, cwd=folder,
        )  # fmt: skip
    listening.close()
    return Server(f"{base}/api", child, folder if not lasting else None)
