"""Exceptions that end a training early: raised in the Trainer, handled by its caller."""


class NotFinite(Exception):
    """The loss of a batch is not finite."""

    def __init__(self, step: int, loss: float, rows: list[str]) -> None:
        super().__init__(step, loss, rows)
        self.step, self.loss, self.rows = step, loss, rows


class EnoughEvaluated(Exception):
    """A pending evaluation made after a resume triggered early stopping."""
