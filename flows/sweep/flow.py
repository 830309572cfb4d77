"""A sweep: axes become cells, each cell is a run of `finetune` in its own process, the best one's model is saved.

Cells share a store, so a result that several need is built once, by the first that needs it.
"""

from prefect.states import Completed

from flows.sweep.execute import Grid, carry_sweep
from flows.sweep.report import publish
from tasks.config import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ExportConfig,
    ModelConfig,
    NoPeft,
    PeftConfig,
    Preset,
    QuantConfig,
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
from tasks.runtime.secrets import discreet, lending


@as_flow("grid")
def grid(
    model: ModelConfig,
    data: DataConfig,
    sweep: SweepConfig,
    task: schema.Task = "text-classification",
    name: Text | None = None,
    seed: Seed = 42,
    output_dir: Text | None = None,
    preset: Preset = "recommended",
    methods: schema.Methods = {},  # noqa: B006 — nobody changes it
    peft: PeftConfig = NoPeft(),
    quant: QuantConfig = QuantConfig(),
    train: TrainConfig = TrainConfig(),
    eval: EvalConfig = EvalConfig(),
    checkpoint: CheckpointConfig = CheckpointConfig(),
    export: ExportConfig = ExportConfig(),
    store: StoreConfig = StoreConfig(),
    secrets: Secrets = {},  # noqa: B006 — never changed
) -> Grid:
    """Fine-tune many times with other values, and keep the best. Running it again redoes only what is missing."""
    sections = {name: value for name, value in locals().items() if name != "sweep"}
    with discreet(), lending(secrets):
        done = carry_sweep(RunConfig.model_validate(sections), sweep)
        publish(done)
    done.raise_if_failed()
    if done.state == "partial":
        return Completed(name="Partial", message=f"{len(done.failed)} of {len(done.cells)} cells failed", data=done)  # type: ignore[return-value]
    return done
