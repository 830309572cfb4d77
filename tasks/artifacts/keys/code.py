"""The code version of a stage: a digest of the normalised source of each module it uses.

The static imports of a stage's module within this project are followed, those inside functions included. Comments,
docstrings and layout are ignored. Packages that cannot affect a stage's bytes are left out: `tasks.config` and
`tasks.objectives` reach a stage only as values, which are in the key themselves (the components an objective names are
followed); the store and the runtime decide whether a stage runs, not what it produces (file formats, pictures and the
starting point of a training do affect bytes, and are followed). For a component in another package, that package's
modules are followed.

Sources are read once, when this module is imported: edits during a run are not what that run executes.
"""

import ast
import hashlib
import inspect
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

PACKAGE = "tasks"
OUTSIDE = (
    "tasks.config", "tasks.artifacts", "tasks.runtime", "tasks.results", "tasks.execution", "tasks.inference",
    "tasks.objectives",
)  # fmt: skip
INSIDE = (
    "tasks.artifacts.formats", "tasks.runtime.resuming", "tasks.results.pictures", "tasks.results.card",
    "tasks.results.usage", "tasks.results.metadata", "tasks.results.model_folder",
)  # fmt: skip


@runtime_checkable
class Component(Protocol):
    """A stage argument that brings its own code, such as a task's objective."""

    def describe(self, components: tuple[str, ...]) -> Mapping[str, object]:
        """Return the JSON that enters the key of a stage that uses these `components`."""
        ...

    def modules(self, components: tuple[str, ...]) -> list[str]:
        """Return the modules that a stage runs if it uses these `components`."""
        ...


def code_version(modules: Iterable[str]) -> dict[str, str]:
    """Return {module: sha256 of its normalised source} for `modules` and all they import within the project."""
    found: dict[str, str] = {}
    waiting = list(modules)
    foreign = {name.split(".")[0] for name in waiting} - {PACKAGE}
    while waiting:
        name = waiting.pop()
        source = _foreign(name) if name.split(".")[0] in foreign else SOURCES.get(name)
        if name in found or source is None or _is_outside(name):
            continue
        found[name], imports = _digest(source.text, name, source.is_package)
        waiting += imports
        waiting += [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]  # importing a.b.c runs a and a.b
    return {name: digest for name, digest in sorted(found.items()) if digest != _EMPTY}


def function_version(function: Callable[..., Any]) -> dict[str, str]:
    """Return the code version of a caller's function or class: the file that defines it and what that imports from
    this project and the caller's files (for libraries, versions are enough); for one defined in a notebook, its own
    source and that of the notebook's names it uses.

    Raises:
        TypeError: its source cannot be read (typed at a prompt), so there is no reliable key.
    """
    try:
        source = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        try:
            source = "\n".join(_cells(function))
        except (OSError, TypeError) as error:
            raise TypeError(
                f"the source of {function.__qualname__} cannot be read, so its result cannot be cached; "
                "move it to a file and import it from there"
            ) from error
    name = f"{function.__module__}:{function.__qualname__}"
    try:
        digest, imports = _digest(source, function.__module__)
    except SyntaxError as error:  # a lambda within a call, say
        raise TypeError(
            f"the source of {function.__qualname__} cannot be parsed on its own; write it as a `def`"
        ) from error
    own = function.__module__.split(".")[0]
    return {name: digest} | code_version(each for each in imports if each.split(".")[0] == own or not _installed(each))


@lru_cache(maxsize=512)
def _installed(name: str) -> bool:
    """Whether a module is a library's or in `flows`, which does not affect results."""
    top = name.split(".")[0]
    try:
        spec = find_spec(top)
    except (ModuleNotFoundError, ValueError):
        return True
    if top == "flows" or spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return True
    return any(Path(spec.origin).is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib"))


def _cells(thing: Callable[..., Any]) -> list[str]:
    """Return the source of a function or class without a file, and of everything in its module that it uses by name,
    directly or not: functions, classes, and constants by their values."""
    waiting: list[Callable[..., Any]] = [thing]
    found: dict[str, str] = {}
    while waiting:
        each = waiting.pop()
        if each.__qualname__ in found:
            continue
        inner: list[tuple[str, object]] = list(vars(each).items()) if inspect.isclass(each) else [("", each)]
        functions = [value for _, value in map(_unwrapped, inner) if inspect.isfunction(value)]
        found[each.__qualname__] = "\n".join(dedent(inspect.getsource(value)) for value in functions)
        named = [pair for value in functions for pair in _globals_of(value)] + inner
        if inspect.isclass(each):
            named += [(base.__qualname__, base) for base in each.__mro__]
        for name, value in named:
            if isinstance(value, bool | int | float | str | None) and not name.startswith("__"):
                found[f"{each.__qualname__}.{name}"] = f"{name!r}, {value!r}"
            elif (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == thing.__module__:
                waiting.append(value)
    return [found[name] for name in sorted(found)]


def _unwrapped(pair: tuple[str, object]) -> tuple[str, object]:
    name, value = pair
    return name, getattr(value, "fget", None) or getattr(value, "__func__", value)


def _globals_of(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield the globals and closure variables that a function uses, by name."""
    codes = [function.__code__]
    for code in codes:
        codes += [each for each in code.co_consts if inspect.iscode(each)]
        yield from ((name, function.__globals__[name]) for name in code.co_names if name in function.__globals__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    yield from ((name, cell.cell_contents) for name, cell in cells)


def _is_outside(name: str) -> bool:
    def under(roots: tuple[str, ...]) -> bool:
        return any(name == root or name.startswith(root + ".") for root in roots)

    return under(OUTSIDE) and not under(INSIDE)


@dataclass(frozen=True)
class Source:
    """A module's source; a package's is its `__init__.py`."""

    text: str
    is_package: bool


def read_sources(root: Path) -> dict[str, Source]:
    """Return every module of the project by name, given the folder of its package."""
    found: dict[str, Source] = {}
    for path in root.rglob("*.py"):
        parts = (PACKAGE, *path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        found[".".join(parts[:-1] if is_package else parts)] = Source(path.read_text(), is_package)
    return found


def _foreign(name: str) -> Source | None:
    """Return the source of a module of another package, as it is on disk now."""
    try:
        spec = find_spec(name)
    except (ModuleNotFoundError, ValueError):  # in `from package.module import name`, `name` may not be a module
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Source(Path(spec.origin).read_text(), spec.submodule_search_locations is not None)


@lru_cache(maxsize=512)
def _digest(source: str, name: str, is_package: bool = False) -> tuple[str, tuple[str, ...]]:
    tree = _Normaliser().visit(ast.parse(source))
    text = ast.dump(tree, include_attributes=False)
    return hashlib.sha256(text.encode()).hexdigest(), tuple(_imports(tree, f"{name}.__init__" if is_package else name))


class _Normaliser(ast.NodeTransformer):
    """Drops docstrings and `TYPE_CHECKING` blocks."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = node.test
        return node.orelse if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING" else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else node


def _imports(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*name.split(".")[: -node.level], *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # ignored if it is not a submodule


def _package_folder() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


SOURCES = read_sources(_package_folder())
_EMPTY = _digest("", "")[0]
