"""The pipeline: twelve stages, in order. This is the flow Prefect deploys; `from flows import finetune` calls it.

What a stage is given is what its result depends on, and nothing else is in its key.
"""
# ruff: noqa: I001 — the imports are the table of contents; one a line would bury it

from tasks import s01_arguments, s02_seed, s03_base, s04_prepare, s05_tokenize, s06_model, s07_adapter
from tasks import s08_trainer, s09_train, s10_evaluate, s11_save, s12_handoff
from tasks.config import (
    CheckpointConfig, DataConfig, EvalConfig, ExportConfig, ModelConfig, NoPeft, PeftConfig, Preset, QuantConfig,
    RunConfig, Secrets, Seed, StoreConfig, TrainConfig, as_used, computing, watching,
)  # fmt: skip
from tasks.runtime.prefect_api.as_flow import as_flow
from tasks.execution.execute import carry_out
from tasks.runtime.context import Paused
from tasks.runtime.stage import Unkeyed
from tasks.results.finetuned import FineTuned


@as_flow("finetune")
def finetune(
    model: ModelConfig,
    data: DataConfig,
    task: str = "text-classification",
    name: str | None = None,
    seed: Seed = 42,
    output_dir: str | None = None,
    preset: Preset = "field",
    peft: PeftConfig = NoPeft(),
    quant: QuantConfig = QuantConfig(),
    train: TrainConfig = TrainConfig(),
    eval: EvalConfig = EvalConfig(),
    checkpoint: CheckpointConfig = CheckpointConfig(),
    export: ExportConfig = ExportConfig(),
    store: StoreConfig = StoreConfig(),
    secrets: Secrets = {},  # noqa: B006 — nobody changes it
) -> FineTuned | Paused:
    """Fine-tune a model. What is in the store is not done again; a run that died is simply run again."""
    return carry_out(RunConfig.model_validate(locals()), pipeline)


def pipeline(run: RunConfig, resolved: str) -> FineTuned:
    """The twelve calls. `resolved` is `run` as YAML, saved beside the model."""
    task, rows_of = run.task, s04_prepare.reading(run.data)
    arguments = s01_arguments.arguments(task=task, train=computing(run.train), eval=run.eval,
                                        custom=s10_evaluate.own_metrics(run.eval))  # fmt: skip
    seeds = s02_seed.seed(seed=run.seed)
    base = s03_base.base(model=Unkeyed(value=run.model), trust_remote_code=run.model.trust_remote_code)
    rows = s04_prepare.prepare(task=task, reading=rows_of, data=Unkeyed(value=run.data))
    shape = s05_tokenize.shape(task, run.data, base)
    tokens = s05_tokenize.tokenize(task=task, rows=rows.select("*.arrow"), base=base, shape=shape)
    head = s01_arguments.fitting(task, rows, run.eval)
    loading = s06_model.loading(task, run.model, run.quant)
    model = s06_model.model(task=task, base=base, head=head, seeds=seeds, loading=loading)
    head = model.select("head.json")  # as the model has it: a base's own class names may stay
    adapter = s07_adapter.adapter(task=task, base=base, model=model, seeds=seeds, peft=run.peft)
    plan = s08_trainer.trainer(task=task, arguments=arguments, tokens=tokens.select("summary.json"), seeds=seeds,
                               options=s08_trainer.options(task, run.data))  # fmt: skip
    trained = s09_train.train(
        task=task, plan=plan, tokens=tokens.select("train-*", "validation-*"), base=base, head=head, model=model,
        adapter=adapter, watching=Unkeyed(value=watching(run.train)), checkpoint=Unkeyed(value=run.checkpoint),
        resume=Unkeyed(value=run.train.resume_from_checkpoint),
    )  # fmt: skip
    weights, judging = trained.select("*.safetensors*", "*config.json", "*.py"), run.eval
    evaluated = s10_evaluate.evaluate(
        task=task, plan=plan, tokens=tokens.select("*.arrow"), base=base, head=head, model=model, trained=weights,
        metrics=judging.metrics, custom=s10_evaluate.own_metrics(judging), bootstrap=judging.bootstrap,
        slices=judging.slices, threshold=judging.threshold, splits=judging.splits,
        seen=rows.select("seen.json"), rows=rows.select("validation.arrow*", "test.arrow*") if judging.slices else None,
    )  # fmt: skip
    saved = s11_save.save(
        task=task, name=run.name, model_name=s03_base.public_name(run.model),
        with_card=run.export.card, merge=run.export.merge, base=base, data=rows.select("data.json"), head=head,
        model=model, plan=plan, trained=weights, history=Unkeyed(value=trained.select("history.json", "state*.json")),
        shape=shape, evaluated=evaluated.select(*s11_save.RESULTS), sources=s04_prepare.sources(run.data),
        output_dir=Unkeyed(value=run.output_dir), resolved=Unkeyed(value=as_used(resolved, shape)),
        promote=Unkeyed(value=run.export.promote),
    )  # fmt: skip
    files, results = saved.without(*s11_save.TIMED), evaluated.select("*s.json")
    return FineTuned.of(s12_handoff.handoff(task=task, saved=files, plan=plan, evaluated=results))
