"""Measure a rate, and estimate the time left."""

from dataclasses import dataclass, field

WINDOW = 20  # newest marks: the rate follows a change, and one slow batch does not distort it


@dataclass
class Pace:
    """The rate of units done, from marks of (seconds, units done).

    Attributes:
        unit: what is counted, as `step` or `row`.
    """

    unit: str
    marks: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def mark(self, seconds: float, done: int) -> None:
        """Record that `done` units are done at `seconds` of some clock."""
        self.marks = [*self.marks[-WINDOW:], (seconds, done)]

    def pause(self, seconds: float) -> None:
        """Exclude `seconds` that were spent on something else."""
        self.marks = [(at + seconds, done) for at, done in self.marks]

    @property
    def rate(self) -> float | None:
        """Units per second; None before two marks differ."""
        (since, before), (now, done) = (self.marks or [(0.0, 0)])[0], (self.marks or [(0.0, 0)])[-1]
        return (done - before) / (now - since) if done > before and now > since else None

    def line(self, total: int) -> str:
        """Return `2.3 steps/s, 1 min 20 s left`; empty if the rate is unknown."""
        if not self.rate:
            return ""
        left = (total - self.marks[-1][1]) / self.rate
        return f"{speed(self.rate, self.unit)}, {duration(left)} left"


def speed(rate: float, unit: str) -> str:
    """Return `2.3 steps/s`, or `4.1 s/step` below one per second."""
    return f"{rate:.3g} {unit}s/s" if rate >= 1 else f"{1 / rate:.3g} s/{unit}"


def duration(seconds: float | None) -> str:
    """Format `75.2` as `1 min 15 s`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
