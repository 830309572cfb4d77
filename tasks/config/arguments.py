"""The catalogue of the installed transformers.TrainingArguments: names, types, choices, defaults.

Importing transformers' trainer takes seconds and imports torch; parsing its source takes milliseconds. The source is
only parsed, never executed.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from tasks.config.errors import MachineError
from tasks.config.reading.words import refusal

# Fields of Seq2SeqTrainingArguments; its others are a sampler that this project has, and a config that these set.
LIMITS = ("generation_max_length", "generation_num_beams")
GENERATION = ("predict_with_generate", *LIMITS)


@dataclass(frozen=True)
class Argument:
    """One field of TrainingArguments. `type` is the type against which pydantic validates a value."""

    name: str
    annotation: str
    type: Any
    default: object
    choices: tuple[str, ...]
    help: str

    @property
    def is_number(self) -> bool:
        """Whether it is a number, so that true and false are invalid although Python treats them as 1 and 0."""
        words = self.annotation.replace("|", " ").split()
        return ("int" in words or "float" in words) and "bool" not in words

    @functools.cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """The validator of this argument's values."""
        return TypeAdapter(self.type)

    def check(self, value: object) -> Any:
        """Return the value in this argument's type, with numbers parsed from text. Raises ValueError if invalid."""
        if isinstance(value, bool) and self.is_number:
            raise ValueError(refusal(value, self.adapter.json_schema()))
        try:
            return self.adapter.validate_python(value)
        except ValidationError:
            raise ValueError(refusal(value, self.adapter.json_schema())) from None


@functools.cache
def catalogue() -> Mapping[str, Argument]:
    """Return all fields of the installed TrainingArguments, by name."""
    folder = _transformers()
    modules = [ast.parse((folder / name).read_text("utf-8")) for name in ("trainer_utils.py", "training_args.py")]
    enums = {name: values for module in modules for name, values in enums_of(module).items()}
    body = next(
        node.body for node in modules[-1].body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments"
    )
    constants = {
        target.id: node.value.value
        for statement in body
        if isinstance(statement, (ast.Assign, ast.If))
        # The last one wins: the condition of an `if` around it is for older torch versions.
        for node in ast.walk(statement)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    generation = ast.parse((folder / "training_args_seq2seq.py").read_text("utf-8"))
    fields = [node for part in generation.body if isinstance(part, ast.ClassDef) for node in part.body]
    chosen = [node for node in fields if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in GENERATION]
    arguments = (
        field_argument(node.target.id, node, enums, constants)
        for node in [*body, *chosen]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    )
    return {argument.name: argument for argument in arguments}


def check(name: str, value: object) -> Any:
    """Return the value as TrainingArguments takes it, with numbers parsed from text. Raises ValueError if invalid."""
    checked = catalogue()[name].check(value)
    if name in LIMITS and checked is not None and checked < 1:
        raise ValueError(f"{checked} given; valid: a whole number, at least 1")
    return checked


def _transformers() -> Path:
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise MachineError("transformers is not installed; run: pip install finetune-flow")
    return Path(spec.origin).parent


def enums_of(module: ast.Module) -> dict[str, tuple[str, ...]]:
    """Return the values of the enums that a module defines, by class name."""
    return {
        node.name: tuple(
            str(line.value.value)
            for line in node.body
            if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
        )
        for node in module.body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Enum") for base in node.bases)
    }


def field_argument(
    name: str, node: ast.AnnAssign, enums: Mapping[str, tuple[str, ...]], constants: Mapping[str, Any]
) -> Argument:
    """Return a dataclass field as an argument.

    Args:
        name: of the field. node: its line. enums: values by class name. constants: values by name, used as defaults.
    """
    keywords = {word.arg: word.value for word in node.value.keywords} if isinstance(node.value, ast.Call) else {}
    metadata = _literal(keywords.get("metadata"), {})
    annotation = ast.unparse(node.annotation)
    kinds = [word for word in enums if word in annotation]
    choices = enums[kinds[0]] if kinds else tuple(metadata.get("choices") or ())
    default = keywords.get("default")
    kind = _type_of(node.annotation, choices)
    return Argument(
        name=name,
        annotation=annotation,
        # A command-line flag without a value means true, whatever its annotation (fsdp).
        type=kind | bool if metadata.get("const") is True else kind,
        default=constants.get(default.id) if isinstance(default, ast.Name) else _literal(default, None),
        choices=choices,
        help=" ".join(str(metadata.get("help", "")).split()),
    )


def _literal(node: ast.expr | None, otherwise: Any) -> Any:
    """Return the value of a literal; for a mapping, of its literal entries (a `choices` may be an expression)."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _literal(value, None) for key, value in pairs if isinstance(key, ast.Constant)}
    try:
        return otherwise if node is None else ast.literal_eval(node)
    except ValueError:
        return otherwise


_PLAIN = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "dict": dict[str, Any],
    "list": list,
    "None": type(None),
}


def _type_of(annotation: ast.expr, choices: tuple[str, ...]) -> Any:
    """Return the type of an annotation. A name defined in the library (an enum) gives its choices, or Any."""
    if isinstance(annotation, ast.BinOp):
        return _union([annotation.left, annotation.right], choices)
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        match ast.unparse(annotation.value):
            case "Optional":
                return _union([*inner, ast.Constant(None)], choices)
            case "Union":
                return _union(inner, choices)
            case "Literal":
                return Literal[tuple(ast.literal_eval(each) for each in inner)]
            case "list" | "List":
                return list[_type_of(inner[0], choices)]
            case "dict" | "Dict":
                return dict[_type_of(inner[0], choices), _type_of(inner[1], choices)]
            case _:
                return Any
    name = ast.unparse(annotation)
    if choices and name not in ("None", "bool"):
        return Literal[choices]
    return _PLAIN.get(name, Any)


def _union(members: list[ast.expr], choices: tuple[str, ...]) -> Any:
    types = dict.fromkeys(_type_of(each, choices) for each in members)
    return functools.reduce(lambda one, other: one | other, types)
