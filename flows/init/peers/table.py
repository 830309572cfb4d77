"""What a key of another tool's config becomes here: a table of rules, and what they found."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias

from tasks.config import ConfigError
from tasks.config.arguments import catalogue
from tasks.config.reading.old_names import DROPPED, RENAMED, modernise
from tasks.config.sections.train import RESERVED


@dataclass
class Import:
    """A config that is being translated.

    Attributes:
        peer, file: the tool, and the name of its config. given: its keys and values. task: ours.
        fixed: dotted names that the command line sets. values: ours, by dotted name. comments: of these values.
        keys: the peer's key of each of these values. lost, needless: reasons by the peer's key: it has no counterpart
            here, or nothing has to be set for it. empty: keys without a value, or false. differs: what is done in
            another way here.
    """

    peer: str
    file: str
    given: Mapping[str, Any]
    task: str = ""
    fixed: frozenset[str] = frozenset()
    values: dict[str, object] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    needless: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)

    def put(self, key: str, path: str, value: object, why: str = "") -> None:
        """Set a dotted name, unless the command line sets it, or a section that it is in."""
        if self.is_fixed(path):
            self.needless[key] = f"{path} is given on the command line"
        else:
            self.values[path], self.keys[path] = value, key
            said = key if re.split(r"[.\[ ]", key)[0] in self.given else f"the default of {self.peer}"
            self.comments[path] = f"{said}: {why}" if why else said

    def is_fixed(self, path: str) -> bool:
        """Whether the command line sets this name, a section that it is in, or a name in it."""
        return any(path == each or path.startswith(f"{each}.") or each.startswith(f"{path}.") for each in self.fixed)

    def refusal(self, key: str, why: str) -> ConfigError:
        """Return the error for a key without which the config would mean something else."""
        return ConfigError(f"{self.file}: {key}: {why}")


Rule: TypeAlias = Callable[[Import, str, Any], None]
"""Translates one key: `(import, key, value)`; the value is neither null nor empty."""


def to(path: str, why: str = "") -> Rule:
    """Return the rule for a key that has the same value here."""
    return lambda found, key, value: found.put(key, path, value, why)


def argument(name: str) -> Rule:
    """Return the rule for a key that is an argument of transformers' training, by its present or a former name."""

    def rule(found: Import, key: str, value: Any) -> None:
        if name in RESERVED:
            found.lost[key] = RESERVED[name]
        elif name in DROPPED:
            found.needless[key] = DROPPED[name]
        else:
            for present, translated in modernise({name: value}).values.items():
                found.put(key, f"train.{present}", translated)

    return rule


def one_of(path: str, words: Mapping[object, object], why: str = "it has no counterpart") -> Rule:
    """Return the rule for a key of which each value has a name of its own here; None: nothing has to be set."""

    def rule(found: Import, key: str, value: Any) -> None:
        if not isinstance(value, str | bool | int) or value not in words:
            found.lost[key] = f"{why}; translated are {', '.join(map(str, words))}"
        elif words[value] is None:
            found.needless[key] = f"{path} is that by default"
        else:
            found.put(key, path, words[value])

    return rule


def listed(path: str) -> Rule:
    """Return the rule for a list that may be one text with commas."""
    return lambda found, key, value: found.put(key, path, names(value))


def needless(why: str) -> Rule:
    """Return the rule for a key for which nothing has to be set here."""
    return _without(lambda found: found.needless, why)


def lost(why: str) -> Rule:
    """Return the rule for a key without a counterpart."""
    return _without(lambda found: found.lost, why)


def unless(rule: Rule, off: Mapping[object, str]) -> Rule:
    """Return the rule for a key of which some values need nothing, with the reasons."""

    def checked(found: Import, key: str, value: Any) -> None:
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value in off:
            found.needless[key] = off[value]
        else:
            rule(found, key, value)

    return checked


def _without(where: Callable[[Import], dict[str, str]], why: str) -> Rule:
    def rule(found: Import, key: str, value: Any) -> None:
        if value is False:
            found.empty.append(key)
        else:
            where(found)[key] = why

    return rule


def names(value: Any) -> list[Any]:
    """Return the items of a list, or of a text with commas."""
    return [each.strip() for each in value.split(",")] if isinstance(value, str) else list(_items(value))


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, Sequence) else [value]


@dataclass(frozen=True)
class Table:
    """The keys of a tool.

    Attributes:
        rules: by key. patterns: rules by a regular expression for other keys. defaults: values here for the tool's
            defaults, by dotted name, of keys that are not given.
    """

    rules: Mapping[str, Rule]
    patterns: Mapping[str, Rule]
    defaults: Callable[[Import], Mapping[str, object]]

    def apply(self, found: Import) -> None:
        """Translate all keys, then fill in the tool's defaults where they are not ours."""
        for key, value in found.given.items():
            translate_key(found, key, value, key, self.rules, self.patterns, _argument)
        for path, value in self.defaults(found).items():
            if path not in found.values and not found.is_fixed(path):
                found.values[path], found.comments[path] = value, f"the default of {found.peer}"


def translate_key(
    found: Import, key: str, value: Any, name: str, rules: Mapping[str, Rule], patterns: Mapping[str, Rule],
    other: Callable[[str], Rule | None] = lambda name: None,
) -> None:  # fmt: skip
    """Translate one key, of the config or of a block in it.

    Args:
        key: with its block (`trl.beta`); `name`: without it. other: returns the rule for a name that has none.
    """
    if value is None or value in ("", [], {}):
        found.empty.append(key)
    elif isinstance(value, str) and "${" in value:
        found.lost[key] = "a value that is filled in by its tool; write what it becomes"
    else:
        matching = (each for pattern, each in patterns.items() if re.fullmatch(pattern, name))
        rule = rules.get(name) or next(matching, None) or other(name)
        if rule is not None:
            rule(found, key, value)
        else:
            near = get_close_matches(name, [*rules, *catalogue()], n=1, cutoff=0.85)
            found.lost[key] = f"it has no counterpart{f'; did you mean {near[0]}?' if near else ''}"


def _argument(name: str) -> Rule | None:
    """Return the rule for an argument of transformers' training; None if it is none."""
    return argument(name) if any(name in names for names in (catalogue(), RESERVED, RENAMED, DROPPED)) else None
