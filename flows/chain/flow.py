"""The flows of chains: each step is a run of `finetune`, shown as its subflow."""

from typing import Annotated, Any

from pydantic import Field

from flows.chain.execute import execute_chain, given_chain
from flows.chain.result import Aligned, Continual
from tasks.config import (
    CheckpointConfig,
    EvalConfig,
    ExportConfig,
    ModelConfig,
    NoPeft,
    PreferenceConfig,
    Preset,
    QuantConfig,
    RlConfig,
    RunConfig,
    Secrets,
    Seed,
    StoreConfig,
    Text,
    TrainConfig,
    load_chain,
)  # fmt: skip
from tasks.config.leaves import given
from tasks.objectives import schema
from tasks.runtime.prefect_api.as_flow import as_flow
from tasks.runtime.secrets import redacting_errors, secrets_in_environment

Shared = Annotated[dict[str, Any], Field(description=RunConfig.model_fields["data"].description)]


@as_flow("align")
def align(
    model: ModelConfig,
    steps: schema.Steps,
    data: Shared = {},  # noqa: B006 — never changed
    task: schema.Task | None = None,
    name: Text | None = None,
    seed: Seed = 42,
    output_dir: Text | None = None,
    preset: Preset = "recommended",
    methods: schema.Methods = {},  # noqa: B006 — never changed
    peft: schema.Peft = NoPeft(),
    quant: QuantConfig = QuantConfig(),
    train: schema.Train = TrainConfig(),
    preference: schema.Preference = PreferenceConfig(),
    rl: schema.Rl = RlConfig(),
    eval: EvalConfig = EvalConfig(),
    checkpoint: CheckpointConfig = CheckpointConfig(),
    export: ExportConfig = ExportConfig(),
    store: StoreConfig = StoreConfig(),
    secrets: Secrets = {},  # noqa: B006 — never changed
) -> Aligned:
    """Run several trainings, each from the model that the one before made. To resume, run it again."""
    return _run(locals())


@as_flow("continual")
def continual(
    model: ModelConfig,
    continual: schema.Continual,
    data: Shared = {},  # noqa: B006 — never changed
    task: schema.Task | None = None,
    name: Text | None = None,
    seed: Seed = 42,
    output_dir: Text | None = None,
    preset: Preset = "recommended",
    methods: schema.Methods = {},  # noqa: B006 — never changed
    peft: schema.Peft = NoPeft(),
    quant: QuantConfig = QuantConfig(),
    train: schema.Train = TrainConfig(),
    preference: schema.Preference = PreferenceConfig(),
    rl: schema.Rl = RlConfig(),
    eval: EvalConfig = EvalConfig(),
    checkpoint: CheckpointConfig = CheckpointConfig(),
    export: ExportConfig = ExportConfig(),
    store: StoreConfig = StoreConfig(),
    secrets: Secrets = {},  # noqa: B006 — never changed
) -> Continual:
    """Train one task after another and measure what is forgotten. To resume, run it again."""
    return _run(locals())  # type: ignore[return-value] — of `continual`


def _run(sections: dict[str, Any]) -> Aligned:
    with redacting_errors(), secrets_in_environment(sections["secrets"]):
        if found := given_chain():
            return execute_chain(*found)
        unset = {"data": {}, "task": None}
        unset |= {field: each.get_default(call_default_factory=True) for field, each in RunConfig.model_fields.items()
                  if field not in ("model", *unset)}  # fmt: skip
        values = {each: given(value) for each, value in sections.items() if each not in unset or value != unset[each]}
        return execute_chain(load_chain(values))
