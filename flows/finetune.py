"""The pipeline: twelve stages, in order. This is the flow Prefect deploys; `from flows import finetune` calls it.

What a stage is given is what its result depends on, and nothing else is in its key.
"""
# ruff: noqa: I001 — the imports are the table of contents; one a line would bury it

from prefect import flow

from tasks import s01_arguments, s02_seed, s03_base, s04_prepare, s05_tokenize, s06_model, s07_adapter
from tasks import s08_trainer, s09_train, s10_evaluate, s11_save, s12_handoff
from tasks.config import (
    CheckpointConfig, DataConfig, EvalConfig, ExportConfig, ModelConfig, NoPeft, PeftConfig, QuantConfig, RunConfig,
    StoreConfig, TrainConfig, computing, watching,
)  # fmt: skip
from tasks.objectives import objective_of
from tasks.runtime.carry import carry_out
from tasks.runtime.stage import Unkeyed
from tasks.runtime.finetuned import FineTuned


@flow(name="finetune", persist_result=False)
def finetune(
    model: ModelConfig,
    data: DataConfig,
    task: str = "text-classification",
    name: str | None = None,
    seed: int = 42,
    output_dir: str | None = None,
    preset: str = "field",
    peft: PeftConfig = NoPeft(),
    quant: QuantConfig = QuantConfig(),
    train: TrainConfig = TrainConfig(),
    eval: EvalConfig = EvalConfig(),
    checkpoint: CheckpointConfig = CheckpointConfig(),
    export: ExportConfig = ExportConfig(),
    store: StoreConfig = StoreConfig(),
) -> FineTuned:
    """Fine-tune a model. What is in the store is not done again; a run that died is simply run again."""
    return carry_out(RunConfig.model_validate(locals()), pipeline)


def pipeline(run: RunConfig, resolved: str) -> FineTuned:
    """The twelve calls. `resolved` is `run` as YAML, saved beside the model."""
    task, rows_of = run.task, s04_prepare.reading(run.data)
    arguments = s01_arguments.arguments(task=task, train=computing(run.train), eval=run.eval)
    seeds = s02_seed.seed(seed=run.seed)
    base = s03_base.base(model=Unkeyed(value=run.model), trust_remote_code=run.model.trust_remote_code)
    rows = s04_prepare.prepare(task=task, reading=rows_of, data=Unkeyed(value=run.data))
    tokens = s05_tokenize.tokenize(
        task=task, rows=rows.select("*.arrow"), base=base, shape=s05_tokenize.shape(task, run.data)
    )
    head, counts = rows.select("head.json"), rows.select("data.json")
    model = s06_model.model(base=base, head=head, seeds=seeds, loading=s06_model.loading(task, run.model, run.quant))
    adapter = s07_adapter.adapter(task=task, base=base, model=model, seeds=seeds, peft=run.peft)
    plan = s08_trainer.trainer(task=task, arguments=arguments, tokens=tokens.select("summary.json"), seeds=seeds,
                               options=s08_trainer.options(task, run.data))  # fmt: skip
    learning = tokens.select("train-*", "validation-*")
    trained = s09_train.train(
        task=task, plan=plan, tokens=learning, base=base, head=head, model=model, adapter=adapter,
        watching=Unkeyed(value=watching(run.train)), checkpoint=Unkeyed(value=run.checkpoint),
    )  # fmt: skip
    evaluated = s10_evaluate.evaluate(
        task=task, plan=plan, tokens=tokens.select("*.arrow"), base=base, head=head, model=model,
        trained=trained.select("*.safetensors*", "*config.json"), metrics=run.eval.metrics,
        custom=s10_evaluate.own_metrics(run.eval), bootstrap=run.eval.bootstrap, slices=run.eval.slices,
        rows=rows.select("validation.arrow", "test.arrow") if run.eval.slices else None,
    )  # fmt: skip
    saved = s11_save.save(
        name=run.name, tag=objective_of(task).pipeline_tag, model_name=s03_base.public_name(run.model),
        export=run.export, base=base, data=counts, head=head, model=model, plan=plan,
        trained=trained.select("*.safetensors*", "*config.json"),
        evaluated=evaluated.select("metrics.json"), shape=s05_tokenize.shape(task, run.data),
        output_dir=Unkeyed(value=run.output_dir), resolved=Unkeyed(value=resolved),
    )  # fmt: skip
    report = s12_handoff.handoff(task=task, saved=saved, plan=plan, evaluated=evaluated.select("*s.json"))
    return FineTuned.of(report)
