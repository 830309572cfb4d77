"""What all tests share: tiny models and data, and one Prefect API for those that need the engine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import make_bert, make_rows

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.pop("FINETUNE_STORE", None)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT base."""
    return make_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CSV with three classes."""
    return make_rows(tmp_path_factory.mktemp("data") / "rows.csv")


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """A Prefect API for the whole session, in the environment for this process and its children."""
    from tasks.runtime.server import api

    with api() as server:
        server.ready()
        os.environ["PREFECT_API_URL"] = server.url
        try:
            yield server.url
        finally:
            del os.environ["PREFECT_API_URL"]
