"""Reads YAML by the rules of version 1.2, and records the line of each name.

PyYAML follows YAML 1.1, in which `1e-4` is text, `no` is false, `010` is eight and `12:30` is 750. A learning rate that
is silently text, or a class `no` that is silently false, wastes a run; so the 1.2 core schema is used instead.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (PyYAML has types for a part of itself only)
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from yaml.composer import ComposerError

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject, is_object
from tasks.config.sections.secrets import without_credentials


class CoreLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema for plain scalars, and a limit on nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node (recursively, in the base class), counting the depth."""
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, f"values nested more than {DEEPEST} levels deep", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


# A separate table: adding to the inherited one would change every other YAML loader of the process.
CoreLoader.yaml_implicit_resolvers = {}
_TAG = "tag:yaml.org,2002:"
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    CoreLoader.add_implicit_resolver(_TAG + _tag, re.compile(f"^(?:{_pattern})$"), _first)


# Far above any real config; larger documents could take minutes or all memory to parse.
LARGEST_FILE = 1 << 20  # bytes
MOST_VALUES = 100_000  # with every alias expanded
DEEPEST = 100
MOST_DIGITS = 40


def _whole(loader: CoreLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > MOST_DIGITS:
        problem = f"an integer of {len(text)} digits; quote it if it is text"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return int(text, 0) if text.lower().startswith(("0o", "0x")) else int(text)


CoreLoader.add_constructor(_TAG + "int", _whole)


@dataclass(frozen=True)
class Document:
    """A YAML mapping as plain values, and the line of each dotted name."""

    values: JsonObject
    lines: Mapping[str, int]


def read(path: str | Path) -> Document:
    """Read a config file. Raises ConfigError with file and line if it is not valid YAML or not a mapping."""
    shown, path = without_credentials(str(path)), Path(path)  # it may be a URL
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{shown}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise ConfigError(
            f"{path}: larger than {LARGEST_FILE >> 20} MiB, the limit for configs (rows belong in data files)"
        )
    return parse_document(text, path.name)


def parse_document(text: str, name: str) -> Document:
    """Parse the text of the config file `name`."""
    walk = _Walk(name)
    value = walk.run(text)
    if value is None:
        raise ConfigError(f"{name}: the file is empty; a run needs at least model and data")
    if not is_object(value):
        raise ConfigError(f"{name}:1: the top level must be a mapping (name: value), not a {type(value).__name__}")
    if walk.problems:
        raise ConfigError("\n".join(walk.problems))
    return Document(value, walk.lines)


def parse_value(text: str) -> object:
    """Parse one value, as written after `name=` on the command line."""
    walk = _Walk("command line")
    value = walk.run(text)
    if walk.problems:
        raise ConfigError("\n".join(walk.problems))
    return value


@dataclass
class _Walk:
    """One pass over a composed document: values, lines and repeated names."""

    name: str
    lines: dict[str, int] = field(default_factory=dict[str, int])
    problems: list[str] = field(default_factory=list[str])
    merged: set[int] = field(default_factory=set[int])

    def run(self, text: str) -> object:
        try:
            loader = CoreLoader(text)
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, {})
            return self._value(loader, node, "")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{self.name}:{mark.line + 1}" if mark else self.name
            raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{self.name}: not valid YAML: {' '.join(str(error).split())}") from error

    def _value(self, loader: CoreLoader, node: yaml.Node, path: str) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(loader, item, f"{path}.{index}") for index, item in enumerate(node.value)]
        try:
            return loader.construct_object(node)
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # an explicit tag: !!int "a"
            problem = f"{str(node.value)!r} is not a valid {node.tag.removeprefix(_TAG)!r}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def _mapping(self, loader: CoreLoader, node: yaml.MappingNode, path: str) -> JsonObject:
        # An anchored mapping is visited once per alias; its merges are resolved in place, only once.
        if id(node) not in self.merged:
            self.merged.add(id(node))
            self._find_repeated(node, path)
            loader.flatten_mapping(node)
        values: JsonObject = {}
        for key, item in node.value:
            dotted = f"{path}.{key.value}" if path else str(key.value)
            self.lines[dotted] = key.start_mark.line + 1
            values[str(key.value)] = self._value(loader, item, dotted)
        return values

    def _find_repeated(self, node: yaml.MappingNode, path: str) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = f"a {key.id} as a name; names must be text"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            line = key.start_mark.line + 1
            name = str(key.value)
            if name in seen:
                dotted = f"{path}.{name}" if path else name
                self.problems.append(f"{self.name}:{line}: {dotted}: given twice, first on line {seen[name]}; keep one")
            seen[name] = line


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return the number of values in a node and their depth, as if its aliases were expanded.

    Raises:
        ComposerError: there are too many values, they are too deep, or the node contains itself.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1, 1
    if id(node) in known:
        count, depth = known[id(node)]
        if not count:
            raise ComposerError(None, None, "a value that contains itself", node.start_mark)
        return count, depth
    known[id(node)] = 0, 0
    inside = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
    sizes = [_measure(each, known) for each in inside]
    count, depth = 1 + sum(size for size, _ in sizes), 1 + max((deep for _, deep in sizes), default=0)
    if count > MOST_VALUES or depth > DEEPEST:
        what = f"{MOST_VALUES} values" if count > MOST_VALUES else f"{DEEPEST} levels of nesting"
        raise ComposerError(None, None, f"aliases expand to more than {what}", node.start_mark)
    known[id(node)] = count, depth
    return count, depth
