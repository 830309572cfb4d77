"""Choose the Prefect API of a run: the configured one, else a running local server, else a child process."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psutil

from tasks.artifacts.scratch import Scratch
from tasks.config.cache import cache_home
from tasks.config.errors import MachineError
from tasks.config.sections.secrets import without_credentials
from tasks.runtime.prefect_api.api_server import QUIET

STARTUP_SECONDS = 120.0
PORT = 4200
SERVES = "tasks.runtime.prefect_api.api_server"


def home() -> Path:
    """Return the folder of the persistent local server's database and address."""
    return cache_home() / "server"


def configured() -> str | None:
    """Return the API URL from the environment or Prefect's active profile, without importing Prefect."""
    return _setting("PREFECT_API_URL")


def _setting(name: str) -> str | None:
    if value := os.environ.get(name):
        return value
    prefect_home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    try:
        profiles = tomllib.loads((prefect_home / "profiles.toml").read_text())
    except (FileNotFoundError, ValueError):
        return None
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    return profiles.get("profiles", {}).get(active, {}).get(name)


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether a Prefect API at `url` (ending in `/api`) is healthy."""
    return silence(url, seconds) is None


def silence(url: str, seconds: float = 2.0) -> str | None:
    """Return why a Prefect API at `url` is unusable; None if it answers (also with "unauthorized")."""
    try:
        with urlopen(f"{url}/health", timeout=seconds, context=_trust(url)) as response:
            return None if response.status == 200 else f"status {response.status}"
    except HTTPError as error:
        return None if error.code in (401, 403) else f"status {error.code}"
    except URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)


def _trust(url: str) -> ssl.SSLContext | None:
    """Return the SSL context for an `https` URL, from the settings that Prefect's client uses."""
    if not url.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=_setting("PREFECT_API_SSL_CERT_FILE"))
    if str(_setting("PREFECT_API_TLS_INSECURE_SKIP_VERIFY")).lower() in ("1", "true", "t", "yes", "y", "on"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _recorded() -> dict[str, str | int] | None:
    """Return `{"url", "pid"}` as written by `start`, even if that server has ended."""
    try:
        state = json.loads((home() / "server.json").read_bytes())
        url, pid = state["url"], state["pid"]
    except (FileNotFoundError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return {"url": url, "pid": pid} if isinstance(url, str) and isinstance(pid, int) and 0 < pid < 1 << 31 else None


def running() -> dict[str, str | int] | None:
    """Return `{"url", "pid"}` of the persistent local server, if it answers."""
    state = _recorded()
    return state if state and answers(str(state["url"])) else None


class Server:
    """The API of one run: `url`, whether it has a UI for users (`visible`), and `ready()` to wait for it."""

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
                raise MachineError(f"the local Prefect API did not start; its last log lines:\n{log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the child; a server that already existed is left running."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()


@contextmanager
def api() -> Generator[Server]:
    """Yield the API for one run. A child starts immediately, and `ready()` waits for it, so that other work can
    overlap.

    Raises:
        MachineError: `PREFECT_API_URL` is set, and nothing answers there.
    """
    if url := configured():
        if why := silence(url.rstrip("/"), seconds=10.0):
            shown = without_credentials(url)
            raise MachineError(f"PREFECT_API_URL: {shown} does not answer ({why}); start that server, or unset it to "
                               "run without")  # fmt: skip
        yield Server(url, None, None)
        return
    if state := running():
        yield Server(str(state["url"]), None, None)
        return
    with Scratch() as folder:
        server = _spawn(folder, 0, lasting=False)
        try:
            yield server
        finally:
            server.stop()


def start(port: int = PORT) -> dict[str, str | int]:
    """Start a persistent local server with the UI; return `{"url", "pid"}` once it answers."""
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
    """Stop the persistent local server; False if none runs.

    Raises:
        MachineError: one answers, but not from the process that was started here.
    """
    state = _recorded()
    if state is None or not _is_ours(int(state["pid"])):
        if state and answers(str(state["url"])):
            raise MachineError(f"{state['url']} answers, but process {state['pid']} here is not that server (which may "
                               "run in another container, or on another machine); stop it there")  # fmt: skip
        (home() / "server.json").unlink(missing_ok=True)
        return False
    (home() / "server.json").unlink(missing_ok=True)
    os.kill(int(state["pid"]), signal.SIGTERM)
    deadline = time.monotonic() + 20
    while answers(str(state["url"]), 0.5) and time.monotonic() < deadline:
        time.sleep(0.1)
    return True


def _is_ours(pid: int) -> bool:
    """Whether a process is the persistent server of this home: ids are reused, and differ between containers."""
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return SERVES in command and str(home()) in command


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
    command = [sys.executable, "-m", SERVES, "--socket", str(listening.fileno())]
    command += ["--home", str(folder), *([] if lasting else ["--parent", str(os.getpid())])]
    environment = {**os.environ, **QUIET, "PREFECT_UI_API_URL": f"{base}/api"}
    with (folder / "log").open("wb") as log:
        # Its own session: Ctrl-C in a terminal must not end it before the run's final state is reported.
        child = subprocess.Popen(
            command, pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment, start_new_session=True, cwd=folder,
        )  # fmt: skip
    listening.close()
    return Server(f"{base}/api", child, folder if not lasting else None)
