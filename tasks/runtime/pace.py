"""How fast something goes, and how long it will still take."""

from dataclasses import dataclass, field

WINDOW = 20  # of the newest marks: the rate follows a change, and one slow batch does not throw it


@dataclass
class Pace:
    """The rate of things done, from marks of (seconds, how many are done).

    Attributes:
        unit: what is counted, as `step` or `row`.
    """

    unit: str
    marks: list[tuple[float, int]] = field(default_factory=list)

    def mark(self, seconds: float, done: int) -> None:
        """Note that `done` are done at `seconds` of some clock."""
        self.marks = [*self.marks[-WINDOW:], (seconds, done)]

    def pause(self, seconds: float) -> None:
        """Leave out `seconds` that went into something else."""
        self.marks = [(at + seconds, done) for at, done in self.marks]

    @property
    def rate(self) -> float | None:
        """Things a second; None before two marks differ."""
        (since, before), (now, done) = (self.marks or [(0.0, 0)])[0], (self.marks or [(0.0, 0)])[-1]
        return (done - before) / (now - since) if done > before and now > since else None

    def line(self, total: int) -> str:
        """`2.3 steps/s, 1 min 20 s left`; empty where nothing is known."""
        if not self.rate:
            return ""
        left = (total - self.marks[-1][1]) / self.rate
        return f"{speed(self.rate, self.unit)}, {duration(left)} left"


def speed(rate: float, unit: str) -> str:
    """`2.3 steps/s`; slower than one a second: `4.1 s/step`."""
    return f"{rate:.3g} {unit}s/s" if rate >= 1 else f"{1 / rate:.3g} s/{unit}"


def duration(seconds: float | None) -> str:
    """`75.2` as `1 min 15 s`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
