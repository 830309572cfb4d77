"""Which code answers a question: the sources a stage is made of, normalised, one digest for each module.

Followed are the static imports of a stage's module within this project, lazily written ones included. Comments,
docstrings and layout do not count. Three rooms are left out, because nothing they do can reach a stage's bytes:
`tasks.config` reaches a stage only as values, which stand in the key themselves; the store and the runtime decide
whether a stage runs, not what it makes (the file formats, which do shape bytes, are followed).
"""

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "tasks"
OUTSIDE = ("tasks.config", "tasks.artifacts", "tasks.runtime")
INSIDE = ("tasks.artifacts.formats",)


def code_version(modules: Iterable[str]) -> dict[str, str]:
    """Return {module: sha256 of its normalised source} for `modules` and all they import within the project."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in found or path is None or _is_outside(name):
            continue
        found[name], imports = _read(path, name)
        waiting += imports
        waiting += [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]  # importing a.b.c runs a and a.b
    return {name: digest for name, digest in sorted(found.items()) if digest != _EMPTY}


def function_version(function: Callable[..., Any]) -> dict[str, str]:
    """Return the code version of a caller's own stage: the file it stands in, and what that imports of this project.

    Raises:
        TypeError: its source cannot be read (typed at a prompt): without it a key would be a guess.
    """
    try:
        source = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        try:
            source = inspect.cleandoc(inspect.getsource(function))
        except (OSError, TypeError) as error:
            raise TypeError(
                f"the source of {function.__qualname__} cannot be read, so its result cannot be cached; "
                "put it in a file and import it from there"
            ) from error
    name = f"{function.__module__}:{function.__qualname__}"
    digest, imports = _digest(source, function.__module__)
    return {name: digest} | code_version(imports)


def _is_outside(name: str) -> bool:
    def under(roots: tuple[str, ...]) -> bool:
        return any(name == root or name.startswith(root + ".") for root in roots)

    return under(OUTSIDE) and not under(INSIDE)


@lru_cache(maxsize=1)
def _root() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _file_of(name: str) -> Path | None:
    head, _, tail = name.partition(".")
    if head != PACKAGE:
        return None
    path = _root().joinpath(*tail.split(".")) if tail else _root()
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _read(path: Path, name: str) -> tuple[str, tuple[str, ...]]:
    status = path.stat()
    return _read_version(path, name, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=512)
def _read_version(path: Path, name: str, mtime_ns: int, size: int) -> tuple[str, tuple[str, ...]]:
    return _digest(path.read_text(), name if path.name != "__init__.py" else f"{name}.__init__")


def _digest(source: str, name: str) -> tuple[str, tuple[str, ...]]:
    tree = _Normaliser().visit(ast.parse(source))
    text = ast.dump(tree, include_attributes=False)
    return hashlib.sha256(text.encode()).hexdigest(), tuple(_imports(tree, name))


class _Normaliser(ast.NodeTransformer):
    """Drops docstrings and what only a type checker runs."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        test = node.test
        if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)

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
            yield from (f"{base}.{alias.name}" for alias in node.names)  # a submodule, or not a file: then ignored


_EMPTY = _digest("", "")[0]
