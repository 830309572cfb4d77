"""Logging: messages of a run go to the `finetune` logger and, inside a Prefect run, to that run's log."""

import logging
import sys

from tasks.runtime.secrets import redact

LOGGER = logging.getLogger("finetune")


def info(message: str, level: int = logging.INFO) -> None:
    """Log `message` to the `finetune` logger and to the run's Prefect log."""
    message = redact(message)
    if not _log_to_prefect(message, level) or LOGGER.handlers:
        LOGGER.log(level, message)


def _log_to_prefect(message: str, level: int) -> bool:
    if "prefect" not in sys.modules:
        return False
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        get_run_logger().log(level, message)
    except MissingContextError:
        return False
    return True


def warn(message: str) -> None:
    """Log a warning."""
    info(message, logging.WARNING)
