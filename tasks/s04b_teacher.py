"""Stage 4b, of runs with distillation: pin the teacher, and check that it knows the same classes and tokens.

In: the teacher's files, the student's base, the classes of the rows. Out: the teacher's tokenizer and config,
`base.json` (digests of the files) and `processor.json`. No weights are loaded or copied.

A separate stage because the teacher's answers depend on these bytes and not on its name, and because a plan runs it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.keys.digests import digest_of
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, ModelConfig, RunConfig
from tasks.models.bases.base import base_files, live_class
from tasks.models.bases.files import INSIDE
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.stage import stage

FIELD, OTHER = "methods.distillation.teacher", "model.name"


def teacher_of(run: RunConfig, objective: Objective, base: ArtifactRef, head: ArtifactRef) -> ArtifactRef | None:
    """Return this stage's artifact; None without distillation. The teacher's bytes are in its key, the name is not.

    Raises:
        ConfigError: it is a live model of a custom class.
    """
    if (options := run.methods.get("distillation")) is None:
        return None
    if live_class(ModelConfig(name=options["teacher"])):
        raise ConfigError(f"{FIELD}: a live model of a custom class cannot be one; save it as a transformers model")
    named, as_wide = Unkeyed(value=options["teacher"]), bool(options["hidden_states"])
    return teacher(objective=objective, model=named, base=base, head=head, as_wide=as_wide)


def _files(model: Unkeyed, **_: object) -> Mapping[str, Path]:
    try:
        return base_files(ModelConfig(name=model.value))
    except ConfigError as error:
        raise _named(error) from error


@stage(libraries=("transformers", "tokenizers"), components=("auto_model",), files=_files, run_in_plan=True)
def teacher(
    build: Build, *, objective: Objective, model: str, base: Artifact, head: Artifact, as_wide: bool
) -> Mapping[str, object]:  # fmt: skip
    """Write what loading the teacher needs.

    Args:
        as_wide: whether its hidden states are compared with the student's.

    Raises:
        ConfigError: no such model; its tokenizer differs from the student's, or its classes from those of the rows.
    """
    from tasks.models.bases.tokenizer import read_base, read_tokenizer
    from tasks.models.load import config_of

    folder = build.view()
    try:
        facts = read_base(folder, build.out, False)
    except ConfigError as error:
        raise _named(error) from error
    counted = [name for name in build.files if name.endswith(".safetensors") or name.startswith(INSIDE)]
    weights = {name: digest_of(build.store, build.files[name]) for name in counted}
    json.write({**facts, "weights": weights}, build.out / "base.json")
    _check_tokens(model, read_tokenizer(build.out).get_vocab(), read_tokenizer(base.view()).get_vocab())
    ours = base.json("base.json")["hidden_size"]
    if as_wide and facts["hidden_size"] != ours:
        raise ConfigError(f"methods.distillation.hidden_states: {model!r} has hidden states of width "
                          f"{facts['hidden_size']}, and the model that learns of {ours}; set it to 0")  # fmt: skip
    _check_classes(model, config_of(folder, False), head.json("head.json"))
    return {"model": model, "model_type": facts["model_type"]}


def _check_tokens(model: str, theirs: Mapping[str, int], ours: Mapping[str, int]) -> None:
    odd = sorted(token for token in ours if theirs.get(token) != ours[token])
    if odd or len(theirs) != len(ours):
        shown = f", such as {odd[0]!r}" if odd else ""
        raise ConfigError(f"{FIELD}: {model!r} has another tokenizer than the model that learns ({len(theirs):,} "
                          f"tokens, not {len(ours):,}; {len(odd):,} of these are missing or have another id{shown}), "
                          "and reads the same token ids; take a teacher with the same tokenizer")  # fmt: skip


def _check_classes(model: str, config: object, head: Mapping[str, Any]) -> None:
    given, labels = getattr(config, "id2label", None) or {}, head["labels"]
    theirs = [str(given[at]) for at in sorted(given)]
    if labels is None:
        if head["problem_type"] and len(theirs) != 1:
            raise ConfigError(f"{FIELD}: {model!r} has {len(theirs)} classes, and these rows have numbers; take a "
                              "teacher that was trained for a regression")  # fmt: skip
        return
    numbered = len(theirs) == len(labels) and labels == [str(at) for at in range(len(labels))]
    if not numbered and sorted(theirs) != sorted(labels):
        lacks, more = sorted({*labels} - {*theirs}), sorted({*theirs} - {*labels})
        raise ConfigError(f"{FIELD}: {model!r} has other classes than the rows: it lacks {_some(lacks)}, and has "
                          f"{_some(more)}, which the rows lack; take a teacher for the same classes, or name them in "
                          "id2label of its config.json")  # fmt: skip


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more if names else "none"


def _named(error: ConfigError) -> ConfigError:
    return ConfigError(str(error).replace(OTHER, FIELD))
