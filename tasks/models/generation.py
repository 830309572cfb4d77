"""The generation config with which a model is scored and saved."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.formats import json
from tasks.config.json_types import JsonObject

if TYPE_CHECKING:
    import torch

LIMITS = {"generation_max_length": "max_length", "generation_num_beams": "num_beams"}
ANSWER_TOKENS = 256  # new tokens of answers that are scored, unless train.generation_max_length is set
ONE_EACH = {"num_return_sequences": 1, "return_dict_in_generate": False}
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
GREEDY = {"do_sample": False, "num_beams": 1, **dict.fromkeys(SAMPLING)}
# Decoding methods that need code from the hub in transformers 5, and a limit that depends on the machine.
UNSUPPORTED = ("num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers", "constraints", "force_words_ids",
               "max_time")  # fmt: skip


def scoring(base: Mapping[str, Any], arguments: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a generation config that scoring sets; None unsets a field.

    The limits are those of `arguments` (`generation_max_length` in tokens of the generated text,
    `generation_num_beams`): a base's `max_new_tokens`, which transformers prefers over `max_length`, and minimum
    lengths that do not fit are unset. Decoding does not sample and returns one text per row.

    Args:
        base: the fields of the model's own generation config.
    """
    fields: dict[str, Any] = {ours: arguments[theirs] for theirs, ours in LIMITS.items() if arguments.get(theirs)}
    limit = fields.get("max_length")
    if limit:
        minimum = ("min_length", "min_new_tokens")
        fields |= dict.fromkeys(["max_new_tokens", *(name for name in minimum if (base.get(name) or 0) >= limit)])
    fields |= {name: value for name, value in ONE_EACH.items() if base.get(name) not in (None, value)}
    fields |= {name: None for name in UNSUPPORTED if base.get(name) is not None}
    if base.get("do_sample"):
        fields |= {"do_sample": False, **{name: None for name in SAMPLING if base.get(name) is not None}}
    return fields


def unused(base: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return a message with the fields of a model's generation config that scoring ignores; empty for none."""
    own = arguments.get("generate", {})
    base = {name: value for name, value in base.items() if name not in own}
    set_here = scoring(base, arguments)
    left = [f"{name} {base[name]!r}" for name, value in set_here.items() if not value and base.get(name)]
    if base.get("num_return_sequences", 1) != set_here.get("num_return_sequences", base.get("num_return_sequences", 1)):
        left.append(f"num_return_sequences {base['num_return_sequences']!r}")
    if not left:
        return ""
    limit = arguments.get("generation_max_length")
    length = f"at most {limit} tokens (train.generation_max_length), " if limit else ""
    how = "sampled" if own.get("do_sample") else "without sampling"
    return f"its generation config is not used for {', '.join(left)}: each row gets one text, {length}{how}"


def unlimited(base: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return a message if only transformers' default of 20 tokens limits the texts; else an empty string."""
    if arguments.get("generation_max_length") or base.get("max_length") or base.get("max_new_tokens"):
        return ""
    return ("its generation config has neither max_length nor max_new_tokens, so texts end after 20 tokens, "
            "transformers' default; set train.generation_max_length")  # fmt: skip


def write_as_scored(
    before: Path | None, config: Path, target: Path, arguments: Mapping[str, Any],
    ends: Callable[[Any, JsonObject], JsonObject] | None = None, base_files: Path | None = None,
) -> str:  # fmt: skip
    """Write the generation config that the model was scored with or, if scoring did not generate, its own.

    Args:
        before: its own; if None, the fields of the model's `config`, as in transformers.
        arguments: of the training, for a task that generates.
        ends: given the tokenizer and the fields of its own, returns those with which texts end where training taught
            it to. base_files: a folder with that tokenizer.

    Returns:
        The message of `unused`.
    """
    base = json.read(before) if before else _of_model(config)
    arguments = arguments if arguments.get("predict_with_generate") else {}
    fields = {**base, **(scoring(base, arguments) if arguments else {})}
    if ends and base_files:
        from tasks.models.bases.tokenizer import read_tokenizer

        fields = {**fields, **ends(read_tokenizer(base_files), base), "_from_model_config": None}
    json.write({name: value for name, value in fields.items() if value is not None}, target)
    return unused(base, arguments) if arguments else ""


def generate_as(model: Any, file: Path) -> None:
    """Set the generation config in `file` on a model (or on the model inside an adapter)."""
    from transformers import GenerationConfig

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.generation_config = GenerationConfig.from_dict(json.read(file))


def positions_of(model: Any) -> int:
    """Return the longest text in tokens that a model has positions for, beside the virtual tokens of its adapter."""
    adapters = getattr(model, "peft_config", {}).values()
    virtual = sum(each.num_virtual_tokens for each in adapters if each.is_prompt_learning)
    return positions_in(model.config) - virtual


def positions_in(config: Any) -> int:
    """Return the positions of a model with this config; a very high number if they are not limited."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 2**30


def generated(
    model: Any, inputs: Mapping[str, "torch.Tensor"], pad: int,
    generate: Callable[[Sequence[int], Mapping[str, "torch.Tensor"]], "torch.Tensor"],
) -> "torch.Tensor":  # fmt: skip
    """Return the new tokens of each row, shape (rows, tokens), padded on the right.

    Rows are generated together. If an adapter puts virtual tokens before the text, only rows of one length are: padding
    would be between the two, and shift the positions of the text.

    Args:
        inputs: `input_ids` and `attention_mask`, padded on the left. generate: given rows and their inputs, returns
            inputs and new tokens.
    """
    count, width = inputs["input_ids"].shape
    lengths: list[int] = inputs["attention_mask"].sum(1).tolist()
    adapters = getattr(model, "peft_config", {}).values()
    lengthened = any(each.is_prompt_learning and each.peft_type != "PREFIX_TUNING" for each in adapters)
    sizes = {*lengths} if lengthened else {width}
    parts: list[tuple[list[int], torch.Tensor]] = []
    for size in sorted(sizes):
        rows = [at for at in range(count) if not lengthened or lengths[at] == size]
        given = {name: each[rows, width - size :] for name, each in inputs.items()}
        parts.append((rows, generate(rows, given)[:, size:]))
    found = inputs["input_ids"].new_full((count, max(part.shape[1] for _, part in parts)), pad)
    for rows, part in parts:
        found[rows, : part.shape[1]] = part
    return found


def usual_limit(model: Any, tokens: int) -> int:
    """Return how long generated texts may be, in tokens, where no limit is set: `tokens`, at most half of the model's
    positions, so that the question has the others."""
    return min(tokens, positions_of(model) // 2)


def _of_model(config: Path) -> JsonObject:
    from transformers import GenerationConfig, PreTrainedConfig

    found = GenerationConfig.from_model_config(PreTrainedConfig.from_dict(json.read(config)))
    return found.to_diff_dict()
