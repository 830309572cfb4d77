"""What lies in the temporary directory beside our scratch folders is left alone, whatever it is called."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.artifacts.scratch import MARKER, Scratch, sweep


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_by_a_killed_process(temporary: Path) -> Path:
    """A scratch folder as it is left: its marker is locked by nobody."""
    with Scratch() as folder:
        dead = temporary / f"{folder.name}-dead"
        dead.mkdir()
        (dead / MARKER).write_text(dead.name)
        (dead / "blobs").mkdir()
    return dead


NAMES = ("finetune-2024-thesis", "finetune-999999-x", f"finetune-{'9' * 20}-x", "finetune-", "finetune-cell-abc")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("marked", ["not", "as another", "by a folder", "by a pipe", "by a link"])
def test_a_folder_of_others_stays(temporary: Path, name: str, marked: str) -> None:
    theirs = temporary / name
    theirs.mkdir()
    (theirs / "chapter.txt").write_text("written by hand")
    if marked == "as another":  # a copy of one of ours
        (theirs / MARKER).write_text("finetune-of-before")
    elif marked == "by a folder":
        (theirs / MARKER).mkdir()
    elif marked == "by a pipe":
        os.mkfifo(theirs / MARKER)
    elif marked == "by a link":
        (temporary / "name").write_text(name)
        (theirs / MARKER).symlink_to(temporary / "name")
    with Scratch() as ours:
        assert ours.is_dir()
    assert (theirs / "chapter.txt").read_text() == "written by hand"
    assert not ours.exists()


def test_a_link_to_a_scratch_folder_is_not_followed(temporary: Path) -> None:
    dead = left_by_a_killed_process(temporary)
    kept = dead.rename(temporary / "kept")
    (temporary / "finetune-link").symlink_to(kept)
    sweep()
    assert (kept / "blobs").is_dir()


def test_what_the_dead_left_goes_and_what_the_living_hold_stays(temporary: Path) -> None:
    dead = left_by_a_killed_process(temporary)
    mine = Scratch()
    sweep()
    assert not dead.exists()
    assert mine.path.is_dir()
    mine.remove()
    assert not mine.path.exists()


HOLD = "import os, sys; from tasks.artifacts.scratch import Scratch; s = Scratch(); print(s.path, flush=True); input()"


def test_another_process_is_known_by_its_lock_not_by_its_id(temporary: Path) -> None:
    """As from another container, whose process ids mean nothing here."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        assert str(holder.pid) not in folder.name
        sweep()
        assert folder.is_dir()
        holder.kill()
        holder.wait()
    sweep()
    assert not folder.exists()
