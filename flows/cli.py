"""`finetune …`: each verb is one call. With `--json` the last line of stdout is one object; progress goes to stderr.

Nothing heavy is imported before a verb needs it: `--help` and a config error answer at once.
"""

import argparse
import io
import logging
import os
import stat
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TextIO

from flows.verbs import VERBS

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return its exit code: 0, 2 config, 3 data, 4 training, 5 environment, 6 partial, 130 interrupted."""
    options = _options(arguments)
    from tasks.config.errors import MACHINE_ERRORS, FinetuneError
    from tasks.config.sections.secrets import without_credentials

    try:
        with _surviving_broken_pipes() if options.goes_on else nullcontext(), _console():
            return options.verb(options)
    except FinetuneError as error:
        print(f"finetune: {without_credentials(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("finetune: interrupted; run the same command again to resume", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # outside the stages, which say more
        if error.errno not in MACHINE_ERRORS:
            raise
        print(f"finetune: {error.strerror}: {error.filename}", file=sys.stderr)
        return 5


@contextmanager
def _console() -> Iterator[None]:
    """Show our log lines on stderr, other libraries' only on errors; restore logging afterwards."""
    logger, last, quantizer = logging.getLogger("finetune"), logging.lastResort, logging.getLogger("bitsandbytes")
    before = logger.handlers, logger.level, logger.propagate, quantizer.level
    handler = _BesideBars()
    handler.setFormatter(logging.Formatter("  %(message)s"))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    quantizer.setLevel(logging.ERROR)  # it warns of kernels that a CPU does not need
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        yield
    finally:
        logger.handlers, _, logger.propagate, _ = before
        logger.setLevel(before[1])
        quantizer.setLevel(before[3])
        logging.lastResort = last


@contextmanager
def _surviving_broken_pipes() -> Iterator[None]:
    """If stdout or stderr is a pipe whose reader exits (`| head -1`), drop the output and let the run continue."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_surviving, before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _surviving(stream: TextIO) -> TextIO:
    try:
        descriptor = stream.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError):  # closed, or not a real file
        return stream
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return stream
    stream.flush()
    pipe = io.BufferedWriter(_Pipe(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(pipe, encoding=stream.encoding, errors=stream.errors, line_buffering=True)


class _Pipe(io.FileIO):
    """A pipe that becomes /dev/null, for this process and its children, when its reader has gone."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return super().write(data) or 0


class _BesideBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines above a progress bar instead of into it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse arguments; overrides may be anywhere after the config, before or after options."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    options.goes_on = getattr(options, "goes_on", False)
    strange = [word for word in rest if word.startswith("-") or "=" not in word or not hasattr(options, "overrides")]
    if strange:
        parser.error(f"{strange[0]!r} is neither an option nor key=value")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finetune", description="Fine-tune transformer models in twelve cached, resumable stages."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for each in VERBS:
        each.add(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
