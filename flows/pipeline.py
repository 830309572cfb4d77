"""The pipeline: twelve stages, in order. This is the flow Prefect deploys; `from flows import finetune` calls it.

A stage's arguments are what its result depends on; they are its cache key, and nothing else is.
"""
# ruff: noqa: I001 — the imports are the table of contents; one a line would bury it

from flows.guards import guards_of
from flows.previous_tasks import previous_tasks
from tasks import s01_arguments, s02_seed, s03_base, s03b_reward_model, s04_prepare, s04b_teacher, s05_tokenize
from tasks import s06_model, s07_adapter, s07b_reference, s07c_held_out, s07d_start
from tasks import s08_trainer, s08b_teacher_answers, s09_train, s10_evaluate, s11_save, s12_handoff
from tasks.config import (
    CheckpointConfig, EvalConfig, ExportConfig, ModelConfig, NoPeft, PreferenceConfig, Preset,
    QuantConfig, RlConfig, RunConfig, Secrets, Seed, StoreConfig, Text, TrainConfig, with_effective_limits, watching,
)  # fmt: skip
from tasks.objectives import objective_of, schema
from tasks.objectives.methods import Methods
from tasks.runtime.prefect_api.as_flow import as_flow
from tasks.execution.execute import execute
from tasks.execution.methods import refuse_unfit_methods
from tasks.runtime.context import Paused
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.ranks import rank_schedule
from tasks.runtime.rewarding import refuse_unrewardable
from tasks.results.finetuned import FineTuned


@as_flow("finetune")
def finetune(
    model: ModelConfig,
    data: schema.Data,
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
) -> FineTuned | Paused:
    """Fine-tune a model. Results in the store are reused; to resume a run that died, run it again."""
    return execute(RunConfig.model_validate(locals()), pipeline)


def pipeline(run: RunConfig, resolved: str) -> FineTuned:
    """The twelve calls. `resolved` is `run` as YAML, saved with the model."""
    objective, methods, judging = objective_of(run.task), Methods.of(run.methods), run.eval
    arguments = s01_arguments.arguments(objective=objective, custom=s10_evaluate.own_metrics(judging),
                                        **s01_arguments.settings(objective, run))  # fmt: skip
    seeds = s02_seed.seed(seed=run.seed)
    base = s03_base.base(model=Unkeyed(value=run.model), trust_remote_code=run.model.trust_remote_code,
                         chat_template=s03_base.template_text(run.model.chat_template))  # fmt: skip
    guards, previous = guards_of(run, base), previous_tasks(run, base)
    judge, code = run.rl.reward_model, s03b_reward_model.functions(run.rl)
    judges = {"reward_model": s03b_reward_model.reward_model(model=Unkeyed(value=judge))} if judge else {}
    rows = s04_prepare.prepare(objective=objective, reading=s04_prepare.reading(run.data), data=Unkeyed(value=run.data))
    classes = s01_arguments.fitting(objective, rows, run)
    teacher = s04b_teacher.teacher_of(run, objective, base, classes)
    shape = s05_tokenize.shape(objective, run.data, base, run.peft.virtual_tokens)
    loading = s06_model.loading(objective, run)
    generation, limits = s10_evaluate.generation_settings(objective, run.train, base, run.peft.virtual_tokens)
    refuse_unfit_methods(run)
    tokens = s05_tokenize.tokenize(objective=objective, rows=rows.select("*.arrow"), base=base, shape=shape)
    model = s06_model.model(objective=objective, base=base, head=classes, seeds=seeds, loading=loading,
                            merge=run.peft.method != "continue")  # fmt: skip
    head = model.select("head.json")  # as the model has it: a base's own class names may stay
    adapter = s07_adapter.adapter(objective=objective, base=base, model=model, seeds=seeds, peft=run.peft)
    refuse_unrewardable(run, base, rows, summary := tokens.select("summary.json"))
    continued = adapter if run.peft.method == "continue" else None  # part of the model before training
    started = {"base": base, "model": model, "adapter": continued}
    tokens = s07b_reference.with_reference(objective, run, tokens, **started)
    forgetting = s07c_held_out.held_out(run, **started)
    guards.before(**started)
    options = objective.loss_options(run) | code
    start = s07d_start.answers_before(objective, run, options, tokens, judges=judges, **started)
    plan = s08_trainer.trainer(
        objective=objective, arguments=arguments, tokens=summary, seeds=seeds,
        options=s08_trainer.options(objective, run.data), loss_options=options, methods=methods,
        labels=s08_trainer.labels(run.methods, rows, tokens), ranks=rank_schedule(run.peft, base),
    )  # fmt: skip
    answers = s08b_teacher_answers.answers_of(teacher, objective, run, plan, tokens=tokens, base=base, head=classes)
    trained = s09_train.train(
        objective=objective, methods=methods, plan=plan, tokens=tokens.select("train-*", "validation-*"),
        base=base, head=head, judges=judges, method_inputs=answers | previous.inputs(), model=model, adapter=adapter,
        watching=Unkeyed(value=watching(run.train)), checkpoint=Unkeyed(value=run.checkpoint),
        resume=Unkeyed(value=run.train.resume_from_checkpoint),
    )  # fmt: skip
    weights = trained.select("*.safetensors*", "*config.json", "*.py")
    evaluated = s10_evaluate.evaluate(
        objective=objective, plan=plan, tokens=tokens.select("*.arrow"), base=base, head=head, model=model,
        trained=weights, seen=rows.select("seen.json"), rows=s10_evaluate.texts(rows, judging, generation),
        generation=generation, forgetting=forgetting, judges=judges, start=start, **s10_evaluate.scoring(judging),
    )  # fmt: skip
    saved = s11_save.save(
        objective=objective, name=run.name, model_name=s03_base.public_name(run.model), guarded=guards.after(weights),
        with_card=run.export.card, merge=run.export.merge, base=base, data=rows.select("data.json"), head=head,
        model=model, plan=plan, trained=weights, history=Unkeyed(value=trained.select("history.json", "state*.json")),
        shape=shape, evaluated=evaluated.select(*s11_save.RESULTS), sources=s04_prepare.sources(run.data),
        output_dir=Unkeyed(value=run.output_dir), resolved=Unkeyed(value=with_effective_limits(resolved, shape)),
        known=s03_base.known(run.model), promote=Unkeyed(value=run.export.promote), limits=limits,
    )  # fmt: skip
    files, results = saved.without(*s11_save.TIMED), evaluated.select("*s.json")
    return FineTuned.of(s12_handoff.handoff(objective=objective, saved=files, plan=plan, evaluated=results))
