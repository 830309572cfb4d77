"""The sweep flow: axes become cells, each cell is a run of `finetune` in its own process, the best model is saved.

Cells share a store, so a result that several need is built once, by the first that needs it.
"""

from prefect.states import Completed

from flows.sweep.execute import execute_sweep
from flows.sweep.report import note, publish
from flows.sweep.result import Grid
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
    SweepConfig,
    Text,
    TrainConfig,
)  # fmt: skip
from tasks.objectives import schema
from tasks.runtime.prefect_api.as_flow import as_flow
from tasks.runtime.secrets import redacting_errors, secrets_in_environment


@as_flow("grid")
def grid(
    model: ModelConfig,
    data: schema.Data,
    sweep: SweepConfig,
    task: schema.Task = "text-classification",
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
) -> Grid:
    """Fine-tune once per combination of values, and keep the best. Running it again builds only what is missing."""
    sections = {name: value for name, value in locals().items() if name != "sweep"}
    with redacting_errors(), secrets_in_environment(secrets):
        done = execute_sweep(RunConfig.model_validate(sections), sweep, note)
        publish(done)
    done.raise_if_failed()
    if done.state == "partial":
        return Completed(name="Partial", message=f"{len(done.failed)} of {len(done.cells)} cells failed", data=done)  # type: ignore[return-value]
    return done
