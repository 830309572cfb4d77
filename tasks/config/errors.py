"""Errors that a user can fix, each class with the exit code of the command that raises it.

An error's text is the whole message: it names the field or the row, what was given, what is valid, and the fix.
"""

import errno

# Error numbers of the operating system that are not bugs: no space, no permission, a failing disk, a folder in place of
# a file.
MACHINE_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOLCK,
    errno.EMFILE, errno.ENFILE, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG,
}  # fmt: skip
MISTAKES = (
    TypeError,
    AttributeError,
    NameError,
    LookupError,
    AssertionError,
)  # bugs in the program, not failures of a service


class FinetuneError(Exception):
    """Base class of errors a user can fix. `exit_code` is the exit code of `finetune …`."""

    exit_code = 1


class ConfigError(FinetuneError):
    """The config is invalid (exit code 2)."""

    exit_code = 2


class DataError(FinetuneError):
    """The data contains something that cannot be trained on (exit code 3)."""

    exit_code = 3


class TrainingError(FinetuneError):
    """Training failed: a loss that is not a number, out of memory (exit code 4)."""

    exit_code = 4


class MachineError(FinetuneError):
    """The environment failed: disk full, no permission to write, a server that does not answer (exit code 5)."""

    exit_code = 5


class Interrupted(FinetuneError):
    """Stopped by a signal after a checkpoint was saved; the same command resumes there (exit code 130)."""

    exit_code = 130


class Signalled(KeyboardInterrupt):
    """Raised by a signal handler to stop at once; not an Exception, so that no `except Exception` catches it.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number
