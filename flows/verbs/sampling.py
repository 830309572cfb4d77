"""Options of the verbs that generate texts."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.inference.sampling import Sampling

OPTIONS = {
    "temperature": (float, "0 takes the likeliest token; about 0.7 gives varied texts"),
    "top_p": (float, "sample only from the likeliest tokens with this share of the probability"),
    "top_k": (int, "sample only from this many of the likeliest tokens"),
    "max_new_tokens": (int, "longest text, in tokens"),
    "num_beams": (int, "beams of a beam search"),
    "seed": (int, "seed of the sampling"),
}


def add_sampling(sub: argparse.ArgumentParser, **defaults: str) -> None:
    """Add the options for which `defaults` says what holds without them."""
    group = sub.add_argument_group("generated texts")
    for name, default in defaults.items():
        kind, what = OPTIONS[name]
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{what} (default: {default})")


def sampling_of(options: argparse.Namespace) -> "Sampling":
    """Return what the options of `add_sampling` say.

    Raises:
        ConfigError: a value that is not valid, or that has no effect.
    """
    from tasks.inference.sampling import Sampling

    return Sampling(**{name: getattr(options, name, None) for name in OPTIONS})
