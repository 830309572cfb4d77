"""Distillation: the loss is that of a teacher computed on the fly, its answers are computed once, and a teacher that
does not fit is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from tasks.config import ConfigError, load
from tasks.data.tables.arrow_file import open_table
from tasks.models.assemble import starting_model
from tasks.objectives import objective_of
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tasks.training.methods.distillation import row_divergence, top_divergence
from tests.flow.scenes import executed
from tests.flow.test_estimate import costs
from tests.selection import slow_except
from tests.tiny import make_task
from tests.training.test_losses import STEADY, resumed, weights

TASKS = ("text-classification", "multi-label", "regression", "token-classification", "question-answering",
         "sequence-sequence", "language-generation", "sft", "language-modeling")  # fmt: skip
ACCUMULATED = ("token-classification", "sft", "language-modeling", "regression")
T, ALPHA, STATES = 3.0, 0.25, 0.5
EVERY = 10_000  # as many of the likeliest tokens as there are


def of(task: str, folder: Path, teacher: Path | str, **options: Any) -> dict[str, Any]:
    config = make_task(task, folder, dropout=0.0)
    config["data"]["split"] = {"validation": 0, "test": 0}
    config["train"] |= {**STEADY, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    taught = {"teacher": str(teacher), "temperature": T, "alpha": ALPHA, "top_k": EVERY, **options}
    return {**config, "methods": {"distillation": taught}}


@pytest.fixture
def teacher(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a model trained for the task that the test has as a parameter."""
    config = make_task(request.getfixturevalue("task"), tmp_path, dropout=0.0)
    config["train"] |= {"max_steps": 6, "learning_rate": 1e-2}
    executed({**config, "output_dir": str(tmp_path / "teacher")})
    return tmp_path / "teacher"


def on_the_fly(done: FineTuned, teacher: Path, rows: list[int]) -> tuple[float, float]:
    """The loss and the gradient norm of the first step, written out, with the teacher computed beside the student."""
    import transformers

    objective, stages = (
        objective_of(done.arguments["task"]),
        {name: done._open(name) for name in ("s03_base", "s06_model")},
    )
    loading = stages["s06_model"].json("load.json")
    student = starting_model(stages["s06_model"].view(), stages["s03_base"].externals(), loading, None).train()
    taught = getattr(transformers, objective.auto_model).from_pretrained(teacher).eval()
    view = objective.component("view")(done.rows("train"), stages["s03_base"].json("processor.json"),
                                       done.arguments["seed"], done.arguments["options"])  # fmt: skip
    batch = done.collator([view[at] for at in rows])
    student.config.use_cache = taught.config.use_cache = False  # separates texts in one row
    ours = student(**batch, output_hidden_states=True)
    with torch.no_grad():
        theirs = taught(**batch, output_hidden_states=True)
    labels, loss = batch.get("labels"), ours.loss
    if "start_logits" in ours:
        hidden = batch["attention_mask"] == 0
        pairs = [(ours[name].masked_fill(hidden, -1e4), theirs[name].masked_fill(hidden, -1e4))
                 for name in ("start_logits", "end_logits")]  # fmt: skip
        more = sum(kl(mine, other) for mine, other in pairs) / 2
    elif labels.ndim == 1 and labels.is_floating_point():
        more = functional.mse_loss(ours.logits[:, 0], theirs.logits[:, 0])
    elif labels.is_floating_point():
        p = torch.distributions.Bernoulli(logits=theirs.logits / T)
        q = torch.distributions.Bernoulli(logits=ours.logits / T)
        more = torch.distributions.kl_divergence(p, q).mean() * T**2
    elif labels.ndim == 1:
        more = kl(ours.logits, theirs.logits)
    else:
        next_token = objective.cross_entropy == "next_token"
        known = labels[:, 1:] != -100 if next_token else labels != -100
        cut = slice(None, -1) if next_token else slice(None)
        more = kl(ours.logits[:, cut][known], theirs.logits[:, cut][known])
    if labels is None or labels.ndim == 1 or labels.is_floating_point():
        known = batch["attention_mask"].bool()
    else:
        known = functional.pad(labels, (0, 1), value=-100)[:, 1:] != -100 if next_token else labels != -100
    name = "decoder_hidden_states" if "decoder_hidden_states" in ours else "hidden_states"
    distance = 1 - functional.cosine_similarity(ours[name][-1][known], theirs[name][-1][known], dim=-1).mean()
    whole = (1 - ALPHA) * loss + ALPHA * more + STATES * distance
    whole.backward()
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1e9)
    return float(whole.detach()), float(norm)


def kl(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """As txtai's trainer writes it."""
    soft = functional.kl_div(
        functional.log_softmax(ours / T, -1), functional.softmax(theirs / T, -1), reduction="batchmean"
    )
    return soft * T**2


@pytest.mark.parametrize("task", slow_except(["sft", "question-answering"], [*TASKS]))
def test_the_first_step_is_that_of_a_teacher_on_the_fly(task: str, tmp_path: Path, teacher: Path) -> None:
    config = of(task, tmp_path, teacher, hidden_states=STATES)
    config["train"]["max_steps"] = 1
    done = executed(config)
    loss, norm = on_the_fly(done, teacher, [*range(8)])
    assert done.history[0]["loss"] == pytest.approx(loss, rel=1e-5)
    assert done.history[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)
    plain = executed({**config, "methods": {}})
    assert plain.history[0]["loss"] != pytest.approx(loss, rel=1e-3), "the teacher changes the loss"


@pytest.mark.parametrize("task", slow_except([], ACCUMULATED))
def test_accumulated_batches_train_like_large_ones(task: str, tmp_path: Path, teacher: Path) -> None:
    found = []
    for size, windows in ((16, 1), (4, 4)):
        config = of(task, tmp_path, teacher, top_k=8)
        config["train"] |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": windows}
        done = executed(config)
        found.append((weights(done), [each["loss"] for each in done.history if "loss" in each]))
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-5)
    for name, tensor in found[0][0].items():
        assert torch.allclose(found[1][0][name], tensor, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("task", slow_except(["language-modeling"], ["language-modeling", "text-classification"]))
def test_a_stopped_training_ends_with_the_same_weights(
    task: str, tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of masked rows each epoch has other answers; two epochs have 16 steps."""
    config = of(task, tmp_path, teacher)
    config["train"] |= {"max_steps": 12, "learning_rate": 0.1}
    whole, again = weights(executed(config)), weights(resumed(config, tmp_path, monkeypatch, at=10))
    assert all(whole[name].equal(again[name]) for name in whole)


@pytest.mark.parametrize("task", ["text-classification"])
def test_answers_are_computed_once(task: str, tmp_path: Path, teacher: Path) -> None:
    config = of(task, tmp_path, teacher)
    records = tmp_path / "store" / "records" / "s08b_teacher_answers"
    executed(config)
    moved = teacher.rename(tmp_path / "renamed")
    for options in ({"temperature": 1.0}, {"alpha": 0.9}, {"max_gb": 1.0, "top_k": 3}):
        executed(of(task, tmp_path, moved, **options))
    other = tmp_path / "other"
    shutil.copytree(config["model"]["name"], other)
    student = json.loads((other / "config.json").read_text()) | {"num_hidden_layers": 1}
    (other / "config.json").write_text(json.dumps(student))
    executed({**of(task, tmp_path, moved), "model": {"name": str(other)}})
    assert len([*records.glob("*.json")]) == 1
    changed = {name: each + 1 for name, each in torch_weights(moved).items()}
    from safetensors.torch import save_file

    save_file(changed, moved / "model.safetensors", metadata={"format": "pt"})
    executed(of(task, tmp_path, moved))
    assert len([*records.glob("*.json")]) == 2


@pytest.mark.parametrize("task", slow_except([], ["language-modeling", "sft"]))
def test_a_plan_states_the_size_of_the_answers(task: str, tmp_path: Path, teacher: Path) -> None:
    config = of(task, tmp_path, teacher, top_k=5, hidden_states=1.0)
    config["train"]["max_steps"] = 12
    stated = costs(config).disk - costs({**config, "methods": {}}).disk
    opened = executed(config)._open("s08b_teacher_answers")
    values = [open_table(path).combine_chunks() for path in opened.paths("answers-").values()]
    assert len(values) == (2 if task == "language-modeling" else 1), "one for each epoch"
    kept = sum(12 * len(each["teacher_values"].combine_chunks().values) for each in values)
    kept += sum(2 * len(each["teacher_states"].combine_chunks().values) for each in values)
    assert stated == pytest.approx(kept, rel=0.05), "masks differ between epochs"
    config["methods"]["distillation"]["max_gb"] = 1e-7
    with pytest.raises(ConfigError, match=r"methods.distillation.max_gb: the teacher's answers would need .* GB"):
        costs(config)


def torch_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["text-classification"])
def test_a_student_comes_closer_to_its_teacher(task: str, tmp_path: Path, teacher: Path) -> None:
    """With alpha 1 the labels do not matter."""
    losses = []
    for steps in (1, 60):
        config = of(task, tmp_path, teacher, alpha=1.0)
        config["train"] |= {"max_steps": steps, "optim": "adamw_torch", "learning_rate": 5e-3}
        losses.append(executed(config).history[-2]["loss"])
    assert losses[1] < losses[0] / 2


def test_likeliest_tokens_are_a_lower_bound() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, taught = torch.randn(5, 40, generator=draw), torch.randn(5, 40, generator=draw) * 3
    whole = kl(logits, taught)
    found = []
    for k in (1, 8, 39, 40):
        top = (taught / T).log_softmax(-1).topk(k, -1)
        found.append(float(top_divergence(logits, top.values, top.indices, T)))
    assert found == sorted(found) and found[-1] == pytest.approx(float(whole), rel=1e-5)


def test_equal_models_diverge_by_nothing() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert row_divergence(logits, logits.flatten(), labels, T).abs() < 1e-6
    top = (logits / T).log_softmax(-1).topk(1, -1)
    assert top_divergence(logits, top.values, top.indices, T).abs() < 1e-6


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["text-classification"])
def test_a_teacher_that_does_not_fit_is_refused_before_tokenization(task: str, tmp_path: Path, teacher: Path) -> None:
    config = of(task, tmp_path, teacher)
    classes = json.loads((teacher / "config.json").read_text())
    for name, change, reason in (
        ("classes", {"id2label": {"0": "fruit", "1": "metal", "2": "stone"}}, "it lacks 'river', and has 'stone'"),
        ("fewer", {"id2label": {"0": "fruit", "1": "metal"}}, "it lacks 'river', and has none"),
    ):  # fmt: skip
        odd = tmp_path / name
        shutil.copytree(teacher, odd)
        (odd / "config.json").write_text(json.dumps(classes | change))
        with pytest.raises(ConfigError, match=f"methods.distillation.teacher: .*other classes than the rows: {reason}"):
            executed(of(task, tmp_path, odd))
    make_task("sequence-sequence", tmp_path)
    with pytest.raises(ConfigError, match=r"methods.distillation.teacher: .*t5.* has another tokenizer"):
        executed(of(task, tmp_path, tmp_path / "t5"))
    with pytest.raises(
        ConfigError, match=r"methods.distillation.teacher: there is no folder '.*/teachr'; did you mean"
    ):
        executed(of(task, tmp_path, tmp_path / "teachr"))
    wide = tmp_path / "wide"
    shutil.copytree(teacher, wide)
    (wide / "config.json").write_text(json.dumps(classes | {"hidden_size": 64}))
    with pytest.raises(ConfigError, match=r"methods.distillation.hidden_states: .* of width 64, .* of 32; set it to 0"):
        executed(of(task, tmp_path, wide, hidden_states=1.0))
    assert not [*(tmp_path / "store" / "records" / "s05_tokenize").glob("*.json")][1:], "only the teacher's rows"
    with pytest.raises(ConfigError, match=r"methods.distillation.teacher: it has no trained head for these classes"):
        headless = tmp_path / "headless"
        shutil.copytree(config["model"]["name"], headless)
        named = {name: classes[name] for name in ("id2label", "label2id")}
        whole = json.loads((headless / "config.json").read_text()) | named
        (headless / "config.json").write_text(json.dumps(whole))
        executed(of(task, tmp_path, headless))
    with pytest.raises(ConfigError, match=r"methods.distillation.max_gb: the teacher's answers would need .* GB"):
        executed(of(task, tmp_path, teacher, max_gb=1e-7))


@pytest.mark.parametrize("task", ["text-classification"])
def test_classes_in_another_order_are_matched_by_name(task: str, tmp_path: Path, teacher: Path) -> None:
    """The teacher's first class becomes its last: the same answers."""
    first = executed(of(task, tmp_path, teacher))
    config, held = json.loads((teacher / "config.json").read_text()), torch_weights(teacher)
    names = [config["id2label"][str(at)] for at in (2, 0, 1)]
    turned = tmp_path / "turned"
    shutil.copytree(teacher, turned)
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: at for at, name in enumerate(names)}}
    (turned / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    heads = {name: held[name][[2, 0, 1]] for name in ("classifier.weight", "classifier.bias")}
    save_file(held | heads, turned / "model.safetensors", metadata={"format": "pt"})
    assert executed(of(task, tmp_path, turned)).history[0]["loss"] == pytest.approx(first.history[0]["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("task", "more", "reason"),
    [("dpo", {}, "dpo has a loss without a counterpart"), ("grpo", {}, "grpo has a loss"),
     ("reward", {}, "reward has a loss"),
     ("token-detection", {}, "token-detection has a loss"),
     ("text-classification", {"class_weights": True}, "methods.class_weights averages the labels' loss by weights")],
)  # fmt: skip
def test_tasks_and_methods_without_use_for_a_teacher_are_refused(
    task: str, more: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    config = of(task, tmp_path, "teacher")
    config["methods"] |= more
    if task == "grpo":
        config["rl"] = {"reward_funcs": "final_answer"}
    with pytest.raises(ConfigError, match=f"methods.distillation: {reason}"):
        loaded = load(config)
        resolve(loaded.config, loaded.origin)


def test_the_short_name_is_known() -> None:
    with pytest.raises(ConfigError, match=r"teacher.*here it is called methods.distillation"):
        load({"model": "a", "data": "b", "teacher": "c"})
