"""`finetune run … | head -1`: who reads may go, and the run goes on."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from flows import cli
from flows.verbs import VERBS


@contextmanager
def unread_pipe() -> Iterator[Any]:
    """A stream into a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    try:
        yield stream
    finally:
        with suppress(BrokenPipeError):
            stream.close()


@pytest.mark.parametrize(("name", "goes_on"), [("stdout", True), ("stderr", True), ("stdout", False)])
def test_a_run_goes_on_when_its_reader_goes(name: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def verb(_: argparse.Namespace) -> int:
        for step in range(3):
            print("x" * 100_000, file=getattr(sys, name))  # more than any buffer holds
            logging.getLogger("finetune").info("said beside")
            done.append(step)
        return 0

    monkeypatch.setattr(cli, "_options", lambda _: argparse.Namespace(verb=verb, goes_on=goes_on))
    with unread_pipe() as stream:
        monkeypatch.setattr(sys, name, stream)
        assert cli.main([]) == 0
        assert getattr(sys, name) is stream
    assert done == ([0, 1, 2] if goes_on else [])


def test_what_makes_something_goes_on() -> None:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()
    for each in VERBS:
        each.add(verbs)
    words = {
        "run": ["c"],
        "grid": ["c"],
        "align": ["c"],
        "continual": ["c"],
        "plan": ["c"],
        "lint": ["c"],
        "serve": [],
        "predict": ["m", "r"],
        "schema": [],
    }
    goes_on = {verb for verb, more in words.items() if getattr(parser.parse_args([verb, *more]), "goes_on", False)}
    assert goes_on == {"run", "grid", "align", "continual", "serve"}
