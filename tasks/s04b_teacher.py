"""Stage 4b, of runs with distillation: pin the teacher, and check that it knows the same classes and tokens.

In: the teacher's files, the student's base, the classes of the rows. Out: the teacher's tokenizer and config,
`base.json` (digests of the files) and `processor.json`. No weights are loaded or copied.

A separate stage because the teacher's answers depend on these bytes and not on its name, and because a plan runs it.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.keys.digests import digest_of
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, ModelConfig, RunConfig
from tasks.models.bases.base import base_files, live_class
from tasks.models.bases.files import INSIDE
from tasks.models.likeness import refuse_other_classes, refuse_other_tokens
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
    theirs, read = (read_tokenizer(each).get_vocab() for each in (build.out, base.view()))
    refuse_other_tokens(FIELD, model, theirs, read, "take a teacher with the same tokenizer")
    ours = base.json("base.json")["hidden_size"]
    if as_wide and facts["hidden_size"] != ours:
        raise ConfigError(f"methods.distillation.hidden_states: {model!r} has hidden states of width "
                          f"{facts['hidden_size']}, and the model that learns of {ours}; set it to 0")  # fmt: skip
    refuse_other_classes(FIELD, model, config_of(folder, False), head.json("head.json"), "teacher")
    return {"model": model, "model_type": facts["model_type"]}


def _named(error: ConfigError) -> ConfigError:
    return ConfigError(str(error).replace(OTHER, FIELD))
