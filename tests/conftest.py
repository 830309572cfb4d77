"""What all tests share: tiny models and data, one Prefect API for those that need the engine, and their isolation."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.isolation import isolated
from tests.promises import PromiseSummary
from tests.selection import mark_selected
from tests.served import Served, serving
from tests.tiny import make_bert, make_rows

# A home of the process's own: no test sees, or leaves anything in, the user's caches, store or Prefect profile.
_HOME = tempfile.TemporaryDirectory(prefix="finetune-tests-")
OURS = ("FINETUNE_GOLDEN", "FINETUNE_TEST_DATA", "FINETUNE_TEST_BROWSER")
for name in [name for name in os.environ if name.startswith(("PREFECT_", "FINETUNE_")) and name not in OURS]:
    del os.environ[name]
os.environ |= {
    "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1",
    "KMP_DUPLICATE_LIB_OK": "True", "KMP_INIT_AT_FORK": "FALSE",  # scikit-learn sets them when it is imported
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # and `flows` these
    "RAY_CLIENT_MODE": "0",  # and Ray
    "XDG_CACHE_HOME": f"{_HOME.name}/cache", "PREFECT_HOME": f"{_HOME.name}/prefect",
}  # fmt: skip
for name, folder in {
    "MPLCONFIGDIR": "finetune-tests-matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "finetune-tests-torch",
}.items():
    os.environ.setdefault(name, str(Path(tempfile.gettempdir()) / folder))  # libraries would set them themselves

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background, as `make prove &`: so would be all
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of the tests, which Ctrl-C then does not reach

# Tests that one process runs one after another, so that what they share is made once. Those of a server wait for it
# most of the time: meanwhile the other process has both cores.
TOGETHER = {"browser": "served", "serving": "served", "test_cli.py": "cli"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--promises`."""
    parser.addoption("--promises", action="store_true", help="end with a line for each promise of README.md")


def pytest_configure(config: pytest.Config) -> None:
    """Have the process that collects all reports sum them up."""
    if config.getoption("promises") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(PromiseSummary())


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what repeats the order of this session."""
    terminalreporter.write_line(f"random order: --randomly-seed={config.getoption('randomly_seed', 'none')}")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups and pytest the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the proofs that CI runs; give tests that belong together their group (`--dist loadgroup`)."""
    mark_selected(config, items)
    for item in items:
        for part in (item.path.parent.name, item.path.name):
            if part in TOGETHER:
                item.add_marker(pytest.mark.xdist_group(TOGETHER[part]))


@pytest.fixture(autouse=True)
def leaves_no_trace() -> Iterator[None]:
    """Fail a test that changes what it shares with others; see `tests/isolation.py`."""
    with isolated() as changed:
        yield
    assert not changed, "the test changed what others share:\n" + "\n".join(changed)


@pytest.fixture(scope="session", autouse=True)
def prefect_logging() -> None:
    """Let Prefect set its logging up before a test listens: it takes all handlers away that it finds."""
    from prefect.logging.configuration import setup_logging

    setup_logging()


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT base."""
    return make_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CSV with three classes."""
    return make_rows(tmp_path_factory.mktemp("data") / "rows.csv")


@pytest.fixture(scope="session")
def prefect_url() -> Iterator[str]:
    """A Prefect API for the whole session, in no environment; see `prefect_api`."""
    from tasks.runtime.prefect_api.server import api

    with api() as server:
        server.ready()
        yield server.url


@pytest.fixture
def prefect_api(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The session's Prefect API, in the environment of this test and its children; without the second that each flow
    of this process waits for its heartbeat's thread to end.
    """
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setattr("tasks.runtime.prefect_api.launch.HEARTBEAT_SECONDS", None)
    return prefect_url


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`finetune serve`, once for the session."""
    with serving(tmp_path_factory.mktemp("served")) as found:
        yield found
