"""What ends a training besides its last step: raised by the Trainer, handled where it was started."""


class NotFinite(Exception):
    """The loss of a batch is not finite."""

    def __init__(self, step: int, loss: float, rows: list[str]) -> None:
        super().__init__(step, loss, rows)
        self.step, self.loss, self.rows = step, loss, rows


class EnoughEvaluated(Exception):
    """An evaluation that was made after a resume triggers early stopping."""
