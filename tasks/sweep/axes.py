"""Compute the settings of a sweep's cells from its axes: products, pairs, random draws, and derived fields."""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from tasks.config import ConfigError
from tasks.config.sections.sweep import Range, SweepConfig

Settings = dict[str, Any]


def settings_of(sweep: SweepConfig) -> list[Settings]:
    """Return the settings of every cell without its seed: `{dotted field: value}`, in a fixed order. Repeated draws are
    one cell."""
    products = [dict(zip(sweep.grid, values, strict=True)) for values in product(*sweep.grid.values())]
    pairs = [dict(zip(sweep.paired, values, strict=True)) for values in zip(*sweep.paired.values(), strict=True)]
    draws = list(draw(sweep)) if sweep.random else [{}]
    cells = [{**one, **two, **three} for one, two, three in product(products, pairs or [{}], draws)]
    return list({json.dumps(cell, sort_keys=True, default=repr): cell for cell in reversed(cells)}.values())[::-1]


def corners(sweep: SweepConfig) -> list[Settings] | None:
    """Return both ends of each axis, with the others at their first value: if these are valid, so are all draws."""
    if sweep.sampler != "tpe":
        return None
    ends = {name: axis if isinstance(axis, list) else [_end(axis, axis.low), _end(axis, axis.high)]
            for name, axis in sweep.random.items()}  # fmt: skip
    first = {name: values[0] for name, values in ends.items()}
    return [first | {name: value} for name, values in ends.items() for value in values]


def _end(axis: Range, value: float) -> float:
    return int(value) if axis.whole else value


def draw(sweep: SweepConfig) -> Iterator[Settings]:
    """Yield `n_trials` draws from `random`, which depend on `sweep.seed` only."""
    random = np.random.default_rng(sweep.seed)
    for _ in range(sweep.n_trials or 0):
        yield {name: _value(random, axis) for name, axis in sweep.random.items()}


def _value(random: np.random.Generator, axis: Range | list[Any]) -> Any:
    if isinstance(axis, list):
        return axis[int(random.integers(len(axis)))]
    if axis.step is not None:
        steps = int((axis.high - axis.low) / axis.step + 1e-9)
        found = axis.low + axis.step * int(random.integers(steps + 1))
        return int(found) if axis.whole else float(f"{found:.12g}")  # 0.1 + 2 * 0.1 is not 0.3
    if axis.log:
        return rounded(float(np.exp(random.uniform(np.log(axis.low), np.log(axis.high)))), axis)
    return rounded(float(random.uniform(axis.low, axis.high)), axis)


def rounded(value: float, axis: Range) -> float:
    """Return `value` rounded to four significant digits, for tables, and clipped to the range."""
    return min(max(float(f"{value:.4g}"), axis.low), axis.high)


def derived(formulas: Mapping[str, str], known: Callable[[str], Any]) -> Settings:
    """Compute fields from others, including computed ones; `known` returns a field's value by its dotted name.

    Raises:
        ConfigError: an invalid formula, one that depends on itself, or on fields that are not numbers.
    """
    found: Settings = {}
    begun: list[str] = []

    def value_of(name: str) -> Any:
        if name not in formulas:
            return known(name)
        if name not in found:
            if name in begun:
                raise ConfigError(f"sweep.derive: {name} is computed from itself: {' from '.join([*begun, name])}")
            begun.append(name)
            found[name] = _evaluate(name, formulas[name], value_of)
            begun.pop()
        return found[name]

    return {name: value_of(name) for name in formulas}


BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"min": min, "max": max, "round": round, "int": int, "float": float}


def _evaluate(name: str, formula: str, known: Callable[[str], Any]) -> Any:
    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.BinOp(op=op) if type(op) in BINARY:
                return BINARY[type(op)](value(node.left), value(node.right))
            case ast.UnaryOp(op=ast.USub()):
                return -value(node.operand)
            case ast.Call(func=ast.Name(id=word), keywords=[]) if word in FUNCTIONS:
                return FUNCTIONS[word](*(value(argument) for argument in node.args))
            case ast.Name() | ast.Attribute():
                found = known(ast.unparse(node))
                if isinstance(found, bool) or not isinstance(found, int | float):
                    raise ConfigError(f"sweep.derive: {name}: {ast.unparse(node)} is {found!r}, not a number")
                return found
        raise ConfigError(f"sweep.derive: {name}: {ast.unparse(node)!r} is not supported; use numbers, dotted "
                          f"fields, + - * / // % **, and {', '.join(FUNCTIONS)}")  # fmt: skip

    try:
        return value(ast.parse(formula, mode="eval").body)
    except (SyntaxError, ArithmeticError, TypeError, ValueError) as error:
        raise ConfigError(f"sweep.derive: {name}: {formula!r} cannot be computed: {error}") from error
