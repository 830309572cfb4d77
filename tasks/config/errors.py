"""What can go wrong, as a user meets it: five kinds, each with the exit code of the command that met it.

An error's text is the whole message: it names the field or the row, what was given, what is valid, and the mend.
"""

import errno

# What the operating system says when the machine, not the program, is at fault: no space, no right, a disk that fails,
# a folder where a file should be.
MACHINE_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOLCK,
    errno.EMFILE, errno.ENFILE, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG,
}  # fmt: skip
MISTAKES = (TypeError, AttributeError, NameError, LookupError, AssertionError)  # of a program: no service raises them


class FinetuneError(Exception):
    """Base of every error a user can mend. `exit_code` is what `finetune …` ends with."""

    exit_code = 1


class ConfigError(FinetuneError):
    """The config is invalid (exit code 2)."""

    exit_code = 2


class DataError(FinetuneError):
    """The data holds something that cannot be trained on (exit code 3)."""

    exit_code = 3


class TrainingError(FinetuneError):
    """Training itself failed: a loss that is not a number, no memory (exit code 4)."""

    exit_code = 4


class MachineError(FinetuneError):
    """The machine refuses: disk full, no right to write, a server that does not answer (exit code 5)."""

    exit_code = 5


class Interrupted(FinetuneError):
    """Stopped by a signal after a checkpoint was saved; the same command goes on from there (exit code 130)."""

    exit_code = 130


class Signalled(KeyboardInterrupt):
    """A signal asked to stop, and is heeded at once: no `except Exception` on the way takes it for a failure.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number
