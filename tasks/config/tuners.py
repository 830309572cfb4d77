"""The catalogue of tuners, those of the installed peft and our own: names, and the fields of their config classes.

Importing peft imports torch and takes seconds; parsing its source takes a tenth of one. The source is only parsed,
never executed.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.config.arguments import Argument, enums_of, field_argument
from tasks.config.errors import MachineError
from tasks.config.reading.names import hint
from tasks.config.sections.section import refuse_credentials

PROMPT = "PromptLearningConfig"
_SAMPLES = "its start is computed from samples of the data, which is not supported; use pissa, olora or orthogonal"
LOFTQ = (
    "LoftQ replaces the base's weights by quantized ones, which are not saved, and peft computes them on a GPU only; "
    "use quant for QLoRA"
)
_OBJECT = "it is a Python object of peft, which a config file cannot contain"
_NOT_TRAINED = "it needs Megatron, with which nothing is trained here"

# Fields that this project sets or does not support, with the reason.
RESERVED_FIELDS: Mapping[str, str] = {
    "task_type": "it follows from task; remove it",
    "peft_type": "set peft.method",
    "auto_mapping": "peft sets it; remove it",
    "peft_version": "peft sets it; remove it",
    "inference_mode": "the adapter is trained; remove it",
    "base_model_name_or_path": "set model.name",
    "revision": "set model.revision",
    "tokenizer_name_or_path": "the model's own tokenizer is used; remove it",
    "tokenizer_kwargs": "the model's own tokenizer is used; remove it",
    "megatron_config": _NOT_TRAINED,
    "megatron_core": _NOT_TRAINED,
    "runtime_config": "it is not part of an adapter; remove it",
    "eva_config": _SAMPLES,
    "corda_config": _SAMPLES,
    "lora_ga_config": _SAMPLES,
    "loftq_config": LOFTQ,
    "total_step": "it is the number of steps of the training; remove it",
    "use_asa": "adaptive subspace allocation is not supported; remove it",
    "alora_invocation_tokens": "activated LoRA is not supported; remove it",
    **dict.fromkeys(("monteclora_config", "kasa_config", "use_bdlora"), _OBJECT),
    "arrow_config": "it routes between trained adapters; it has nothing to train",
    "layer_replication": "it makes another model of the base; the adapter could not be merged into it",
    **dict.fromkeys(("token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
                    "peft reads it from the model; remove it"),
}  # fmt: skip

# Tuners that cannot be trained on the rows of one task, with the reason.
UNSUPPORTED: Mapping[str, str] = {
    "xlora": "it mixes several trained adapters",
    "poly": "it needs a task identifier with each row",
    "multitask_prompt_tuning": "it needs a task identifier with each row",
    "adaption_prompt": "it replaces the attention of Llama as it was in transformers 4",
    "cartridge": "its start is computed by a separate pass over a corpus",
    "cpt": "it needs token ids and a token type mask of a context, and its loss is weighted by row position",
    "shadow": "it runs a second model beside the base and returns another loss",
}


ADALORA = "adalora"
LENGTHENING = ("p_tuning", "prompt_tuning")  # their vectors are part of the sequence, also of its logits
UNMERGEABLE = ("bottleneck", "lily")  # besides those with prompts: they change more than weights
OWN = {"bottleneck": "tasks.models.bottleneck"}  # tuners that peft lacks: modules that register them with it
# Tuners that work with quantized weights, of 4 and of 8 bits. Others compute with the bytes of quantized weights as if
# they were the weights, some without an error.
QUANTIZABLE = ("lora", "adalora", "beft", "boft", "bottleneck", "c3a", "fourierft", "gralora", "hira", "ia3", "lily",
               "ln_tuning", "miss", "oft", "p_tuning", "prefix_tuning", "prompt_tuning", "pvera", "randlora", "road",
               "trainable_tokens", "vblora", "vera", "waveft")  # fmt: skip


@dataclass(frozen=True)
class Tuner:
    """A tuner: one of peft's, or ours.

    Attributes:
        name: peft's own, e.g. "adalora". fields: those of its config class, by name, including inherited ones.
        is_prompt: whether it prepends trained vectors instead of changing layers.
    """

    name: str
    fields: Mapping[str, Argument]
    is_prompt: bool

    def check(self, field: str, value: object) -> object:
        """Return a field's value in its type.

        Raises:
            ValueError: there is no such field, it cannot be set here, or the value is invalid.
        """
        if field in RESERVED_FIELDS and field in self.fields:
            raise ValueError(f"not allowed: {RESERVED_FIELDS[field]}")
        if field not in self.fields:
            valid = f"; valid: {', '.join(self.settable)}"
            if owners := having(field):
                raise ValueError(f"{self.name} has no such field ({some(owners)} has){valid}")
            found = hint(f"peft.{field}", {f"peft.{name}" for name in self.settable})
            raise ValueError(f"unknown name{found or valid}")
        return self.fields[field].check(refuse_credentials(value))

    @property
    def settable(self) -> Mapping[str, Argument]:
        """The fields a config may set."""
        return {name: field for name, field in self.fields.items() if name not in RESERVED_FIELDS}


@functools.cache
def tuners() -> Mapping[str, Tuner]:
    """Return all tuners that can be trained here, by name, LoRA first."""
    modules = [ast.parse(path.read_text("utf-8")) for path in _sources()]
    enums = {name: values for module in modules for name, values in enums_of(module).items()}
    classes = {node.name: node for module in modules for node in module.body if isinstance(node, ast.ClassDef)}
    found: dict[str, Tuner] = {}
    for node in classes.values():
        if (name := _tuner_name(node)) and name not in UNSUPPORTED:
            lineage = list(_lineage(node, classes))
            fields = {
                line.target.id: field_argument(line.target.id, line, enums, {})
                for each in reversed(lineage)
                for line in each.body
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
            }
            found[name] = Tuner(name, fields, any(each.name == PROMPT for each in lineage))
    return {name: found[name] for name in ["lora", *sorted(found.keys() - {"lora"})]}


def having(field: str) -> list[str]:
    """Return the tuners that have a field."""
    return [name for name, tuner in tuners().items() if field in tuner.settable]


def some(names: list[str]) -> str:
    """Return the first few of some names, as text."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _sources() -> Iterator[Path]:
    spec = importlib.util.find_spec("peft")
    if spec is None or spec.origin is None:
        raise MachineError("peft is not installed; run: pip install finetune-flow")
    root = Path(spec.origin).parent
    yield root / "config.py"
    yield from sorted((root / "tuners").glob("*/config.py"))
    yield from sorted((root / "tuners").glob("*_utils.py"))
    for module in OWN.values():
        yield Path(__file__).parents[2] / f"{module.replace('.', '/')}.py"


def _tuner_name(node: ast.ClassDef) -> str | None:
    """Return the tuner of a config class, from its assignment of self.peft_type."""
    for line in ast.walk(node):
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "self.peft_type":
            return ast.unparse(line.value).rpartition(".")[2].lower()
    return None


def _lineage(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    """Yield a class and its base classes, nearest first."""
    yield node
    for base in node.bases:
        if (parent := classes.get(ast.unparse(base))) is not None:
            yield from _lineage(parent, classes)
