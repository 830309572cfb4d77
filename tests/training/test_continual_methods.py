"""Methods that keep what was learnt before: losses and gradients beside plain code, exact resumes, what is computed
once, and what is refused."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import functional

from flows.api import plan
from tasks.artifacts.record import Record
from tasks.config import ConfigError, load
from tasks.data.tokens.kept_rows import drawn_rows, kept_origins
from tasks.models.assemble import starting_model
from tasks.objectives import OBJECTIVES, objective_of
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tasks.training.methods import METHODS as METHODS_BY_NAME
from tasks.training.methods.ewc import Consolidated
from tests.flow.scenes import executed
from tests.flow.test_estimate import costs
from tests.selection import slow_except
from tests.tiny import make_task
from tests.training.test_losses import STEADY, resumed, weights

LAMBDA, SAMPLES, SIZE = 300.0, 7, 8
PLAIN = {**STEADY, "learning_rate": 0.05, "max_grad_norm": 1e9, "lr_scheduler_type": "constant", "weight_decay": 0.0}
Term = Callable[[Any, int], torch.Tensor]


def of(task: str, folder: Path, methods: dict[str, Any], dropout: float = 0.0, **train: Any) -> dict[str, Any]:
    """A training of three steps of 8 rows, in order."""
    config = make_task(task, folder, dropout=dropout)
    config["data"]["split"] = {"validation": 0, "test": 0}
    config["train"] |= {**PLAIN, "per_device_train_batch_size": SIZE, "gradient_accumulation_steps": 1, **train}
    return {**config, "methods": methods}


def earlier(task: str, folder: Path, name: str = "old", **train: Any) -> FineTuned:
    """A run that learnt a task before."""
    config = of(task, folder, {}, **{"max_steps": 4, "optim": "adamw_torch", "learning_rate": 1e-2} | train)
    return executed({**config, "output_dir": str(folder / name)})


Learnt = Callable[[str], tuple[Path, FineTuned]]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """The folder of an earlier run for a task, and the run: each is made once."""

    @cache
    def made(task: str) -> tuple[Path, FineTuned]:
        folder = tmp_path_factory.mktemp(task)
        done = earlier(task, folder)
        return folder / "old", done

    return made


def start(done: FineTuned) -> Any:
    """The model before the training."""
    model, base = done._open("s06_model"), done._open("s03_base")
    return starting_model(model.view(), base.externals(), model.json("load.json"), None)


def batch_of(done: FineTuned, rows: list[int]) -> Any:
    objective = objective_of(done.arguments["task"])
    view = objective.component("view")(done.rows("train"), done._open("s03_base").json("processor.json"))
    return done.collator([view[at] for at in rows])


def written_out(done: FineTuned, term: Term, steps: int = 3) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses and the last weights of a plain loop."""
    model, losses = start(done).train(), []
    model.config.use_cache = False
    for step in range(steps):
        loss = model(**batch_of(done, [*range(step * SIZE, (step + 1) * SIZE)])).loss + term(model, step)
        model.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            for each in model.parameters():
                if each.grad is not None:
                    each -= PLAIN["learning_rate"] * each.grad
    return losses, model.state_dict()


def agree(done: FineTuned, term: Term) -> None:
    losses, last = written_out(done, term)
    assert [each["loss"] for each in done.history if "loss" in each] == pytest.approx(losses, rel=1e-5)
    ours = weights(done)
    for name in ours:
        assert torch.allclose(ours[name], last[name], rtol=1e-4, atol=1e-6), name


def by_hand(folder: Path, kind: str, done: FineTuned, rows: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The empirical Fisher information of a model's body, and its weights."""
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    model.config.use_cache = False
    body = dict(model.base_model.named_parameters())
    fisher = {name: torch.zeros_like(each) for name, each in body.items()}
    for row in rows:
        model.zero_grad()
        model(**batch_of(done, [row])).loss.backward()
        for name, each in body.items():
            fisher[name] += each.grad**2 / len(rows)
    return fisher, {name: each.detach() for name, each in body.items()}


def some(rows: int) -> list[int]:
    return sorted(np.random.Generator(np.random.PCG64(0)).choice(rows, SAMPLES, replace=False).tolist())


KINDS = {"text-classification": "AutoModelForSequenceClassification", "sft": "AutoModelForCausalLM",
         "token-classification": "AutoModelForTokenClassification"}  # fmt: skip
PAIRS = [("token-classification", "text-classification"), ("text-classification", "token-classification"),
         ("sft", "sft")]  # fmt: skip
BODY = {"sft": "model"}


# -- beside plain code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", slow_except([], KINDS))
def test_l2_to_start_is_a_spring_to_the_first_weights_of_the_body(task: str, tmp_path: Path) -> None:
    done = executed(of(task, tmp_path, {"l2_to_start": 9.0}))
    first = {name: each.detach().clone() for name, each in start(done).base_model.named_parameters()}

    def spring(model: Any, step: int) -> torch.Tensor:
        return 9.0 / 2 * sum(((each - first[name]) ** 2).sum() for name, each in model.base_model.named_parameters())

    agree(done, spring)
    plain, ours = written_out(done, lambda model, step: torch.zeros(()))[1], weights(done)
    assert any((plain[name] - each).abs().max() > 1e-4 for name, each in ours.items()), "the spring holds them"


def test_l2_to_start_does_not_hold_a_head(tmp_path: Path) -> None:
    config = transformers.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    model = transformers.BertForSequenceClassification(config)
    hook: Any = METHODS_BY_NAME["l2_to_start"].make({"weight": 3.0}, model, {})
    hook.prepare()
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.5)
    penalty = hook.penalty()
    penalty.backward()
    assert penalty.item() == pytest.approx(3.0 / 2 * 0.25 * sum(each.numel() for each in model.bert.parameters()))
    assert all(torch.allclose(each.grad, torch.full_like(each, 1.5)) for each in model.bert.parameters())
    assert model.classifier.weight.grad is None


@pytest.mark.parametrize(("old", "task"), slow_except([PAIRS[1]], PAIRS))
def test_ewc_holds_the_body_near_the_earlier_weights(old: str, task: str, tmp_path: Path, learnt: Learnt) -> None:
    folder, before = learnt(old)
    methods = {"ewc": {"ewc_lambda": LAMBDA, "samples": SAMPLES, "previous": [str(folder)]}}
    done = executed(of(task, tmp_path, methods))
    fisher, center = by_hand(folder, KINDS[old], before, some(before.rows("train").num_rows))

    def held(model: Any, step: int) -> torch.Tensor:
        body = dict(model.base_model.named_parameters())
        return (
            LAMBDA / 2 * sum((fisher[name] * (body[name] - center[name]) ** 2).sum() for name in fisher.keys() & body)
        )

    agree(done, held)
    made = made_by("s08c_fisher", tmp_path)
    ours, at = load_file(made / "fisher.safetensors"), load_file(made / "center.safetensors")
    assert ours.keys() == at.keys() == fisher.keys()
    assert all(torch.allclose(ours[name], fisher[name], rtol=1e-4, atol=1e-12) for name in fisher)
    assert all(at[name].equal(center[name]) for name in center) and any(each.any() for each in ours.values())


def made_by(stage: str, folder: Path) -> Path:
    """The members of the only artifact of a stage, under their names."""
    (path,) = (folder / "store" / "records" / stage).glob("*.json")
    out = folder / stage
    out.mkdir(exist_ok=True)
    for name, member in Record.unseal(path.read_bytes()).members.items():
        shutil.copyfile(folder / "store" / "blobs" / member.sha256, out / name)
    return out


def old_loss(model: Any, other: Any, task: str, batch: Any) -> torch.Tensor:
    """The loss of an earlier task's rows with the trained body below the earlier head."""
    if task == "sft":
        return model(**batch).loss
    states = model.bert(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids")).last_hidden_state
    if task == "text-classification":
        pooler = other.bert.pooler if model.bert.pooler is None else model.bert.pooler
        return functional.cross_entropy(other.classifier(pooler(states)), batch["labels"])
    return functional.cross_entropy(other.classifier(states).flatten(0, 1), batch["labels"].flatten())


@pytest.mark.parametrize(("old", "task"), slow_except([PAIRS[1]], PAIRS))
def test_rehearsal_adds_the_loss_of_old_rows_below_their_own_head(
    old: str, task: str, tmp_path: Path, learnt: Learnt
) -> None:
    folder, before = learnt(old)
    methods = {"rehearsal": {"share": 1.0, "weight": 0.7, "previous": [str(folder)]}}
    done = executed(of(task, tmp_path, methods))
    other = getattr(transformers, KINDS[old]).from_pretrained(folder).requires_grad_(False)
    rows = before.rows("train").num_rows
    order = np.random.Generator(np.random.PCG64([done.arguments["seed"], 0])).permutation(rows).tolist()

    def replay(model: Any, step: int) -> torch.Tensor:
        return 0.7 * old_loss(model, other, old, batch_of(before, order[step * SIZE : (step + 1) * SIZE]))

    agree(done, replay)


@pytest.mark.parametrize(("old", "task"), slow_except([], PAIRS))
def test_accumulated_batches_train_like_large_ones(old: str, task: str, tmp_path: Path, learnt: Learnt) -> None:
    found = []
    for size, windows in ((16, 1), (4, 4)):
        for methods in (options("rehearsal", 1.0, learnt(old)[0]), options("ewc", 20.0, learnt(old)[0]),
                        options("l2_to_start", 3.0)):  # fmt: skip
            config = of(task, tmp_path, methods)
            config["train"] |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": windows}
            done = executed(config)
            found.append((weights(done), [each["loss"] for each in done.history if "loss" in each]))
    for large, small in zip(found[:3], found[3:], strict=True):
        assert small[1] == pytest.approx(large[1], rel=1e-5)
        assert all(torch.allclose(small[0][name], each, rtol=0, atol=1e-6) for name, each in large[0].items())


# -- nothing, and something -------------------------------------------------------------------------------------------

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "l2_to_start": ("weight", {}), "ewc": ("ewc_lambda", {"samples": 3}), "rehearsal": ("weight", {"rows": 20}),
}  # fmt: skip


def options(name: str, strength: float, *previous: Path) -> dict[str, Any]:
    field, more = METHODS[name]
    return {name: {field: strength, **more} | ({"previous": [*map(str, previous)]} if previous else {})}


@pytest.mark.parametrize("name", slow_except([], METHODS))
def test_a_strength_of_0_trains_the_plain_bits_and_another_does_not(name: str, tmp_path: Path, learnt: Learnt) -> None:
    previous = () if name == "l2_to_start" else (learnt("token-classification")[0],)
    plain, none, much = (
        weights(executed(of("text-classification", tmp_path, methods, dropout=0.1, max_steps=2)))
        for methods in ({}, options(name, 0.0, *previous), options(name, 9.0, *previous))
    )
    assert all(plain[each].equal(none[each]) for each in plain)
    assert not all(plain[each].equal(much[each]) for each in plain)


# -- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "windows"), slow_except([], [(name, each) for name in METHODS for each in (1, 2)]))
def test_a_stopped_training_ends_with_the_same_weights(
    name: str, windows: int, tmp_path: Path, learnt: Learnt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, whose random numbers old rows use too, and from a start that is not the checkpoint's."""
    previous = () if name == "l2_to_start" else (learnt("token-classification")[0],)
    config = of("text-classification", tmp_path, options(name, 5.0, *previous), dropout=0.1, max_steps=5)
    config["train"] |= {"gradient_accumulation_steps": windows, "per_device_train_batch_size": SIZE // windows,
                        "train_sampling_strategy": "random", "optim": "adamw_torch", "learning_rate": 1e-2}  # fmt: skip
    if windows > 1:  # the stop is between two micro-batches
        whole, again = weights(executed(config)), weights(stopped_within(config, tmp_path, monkeypatch))
    else:
        whole, again = weights(executed(config)), weights(resumed(config, tmp_path, monkeypatch))
    assert all(whole[each].equal(again[each]) for each in whole)


def stopped_within(config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> FineTuned:
    """The run after a stop in the first micro-batch of its third step."""
    import os
    import signal

    from tasks.config.errors import Interrupted
    from tasks.training.trainer import FinetuneTrainer

    step, calls = FinetuneTrainer.training_step, []

    def stopped(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(self.state.global_step)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments, **named)

    config = {**config, "store": {"root": str(folder / "stopped")}}
    with monkeypatch.context() as patched:
        patched.setattr(FinetuneTrainer, "training_step", stopped)
        with pytest.raises(Interrupted):
            executed(config)
        return executed(config)


# -- several tasks, computed once -------------------------------------------------------------------------------------


def test_the_terms_of_several_tasks_are_one_parabola() -> None:
    draw = torch.Generator().manual_seed(0)
    terms = [(torch.rand(50, generator=draw) ** 8, torch.randn(50, generator=draw)) for _ in range(4)]
    for precision, _ in terms:
        precision[:5] = 0.0  # weights that no task needs
    one = Consolidated(*terms[0])
    for each in terms[1:]:
        one.add(*each)
    for scale in (0.0, 1.0, 100.0):
        at = (torch.randn(50, generator=draw) * scale).requires_grad_()
        whole = sum((precision * (at - mean) ** 2).sum() for precision, mean in terms)
        found = one(at)
        assert found.item() == pytest.approx(whole.item(), rel=1e-5)  # type: ignore[union-attr]
        ours, theirs = torch.autograd.grad(found, at)[0], torch.autograd.grad(whole, at)[0]  # type: ignore[arg-type]
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5) and not ours[:5].any()


@pytest.mark.slow
def test_two_earlier_tasks_add_up_and_each_is_estimated_once(tmp_path: Path) -> None:
    one, two = earlier("token-classification", tmp_path), earlier("question-answering", tmp_path, "qa")
    records = tmp_path / "store" / "records" / "s08c_fisher"
    both = [str(tmp_path / "old"), {"model": str(tmp_path / "qa"), "name": "answers"}]

    def config(strength: float, previous: list[Any], task: str = "text-classification") -> dict[str, Any]:
        return of(task, tmp_path, {"ewc": {"ewc_lambda": strength, "samples": SAMPLES, "previous": previous}})

    executed(config(LAMBDA, both[:1]))
    assert len([*records.glob("*.json")]) == 1
    done = executed(config(LAMBDA, both))
    answering = "AutoModelForQuestionAnswering"
    parts = [by_hand(tmp_path / "old", KINDS["token-classification"], one, some(one.rows("train").num_rows)),
             by_hand(tmp_path / "qa", answering, two, some(two.rows("train").num_rows))]  # fmt: skip

    def held(model: Any, step: int) -> torch.Tensor:
        body = dict(model.base_model.named_parameters())
        return sum((LAMBDA / 2 * (fisher[name] * (body[name] - center[name]) ** 2).sum()
                    for fisher, center in parts for name in fisher), start=torch.zeros(()))  # fmt: skip

    agree(done, held)
    plain, held_ones = costs(of("text-classification", tmp_path, {})), costs(config(LAMBDA, both))
    made = [Record.unseal(path.read_bytes()) for path in records.glob("*.json")]
    members = [member.size for each in made for member in each.members.values()]
    assert held_ones.disk - plain.disk == pytest.approx(sum(members), rel=0.15)
    assert held_ones.memory_parts["held_weights"] == pytest.approx(sum(members) / 4 * 3, rel=0.15)
    assert not plain.memory_parts["held_weights"] and not costs(config(0.0, both)).memory_parts["held_weights"]
    executed(config(7.0, both))  # a grid
    (tmp_path / "old").rename(tmp_path / "moved")
    executed(config(LAMBDA, [str(tmp_path / "moved"), both[1]], "language-modeling"))  # a later task
    assert len([*records.glob("*.json")]) == 2
    changed = {name: each + 0.01 for name, each in load_file(tmp_path / "moved" / "model.safetensors").items()}
    save_file(changed, tmp_path / "moved" / "model.safetensors", metadata={"format": "pt"})
    executed(config(LAMBDA, [str(tmp_path / "moved")]))
    assert len([*records.glob("*.json")]) == 3


def test_kept_rows_have_the_proportions_of_their_classes() -> None:
    origins = np.repeat(np.arange(100), 2)  # two windows each
    classes = np.repeat(np.repeat([0, 1, 2], [70, 20, 10]), 2)
    kept = kept_origins(origins, classes, None, 0.1, seed=3)
    assert np.bincount(classes[::2][kept]).tolist() == [7, 2, 1] and len({*kept}) == 10
    assert kept.tolist() == kept_origins(origins, classes, 10, 0.5, seed=3).tolist()
    assert kept.tolist() != kept_origins(origins, classes, 10, 0.5, seed=4).tolist()
    for rows, share, count in ((None, 0.001, 1), (1000, 0.1, 100), (33, 0.1, 33)):
        for given in (classes, None):
            assert len(kept_origins(origins, given, rows, share, seed=0)) == count


def test_draws_are_a_function_of_the_step_and_draw_each_row_alike() -> None:
    whole = drawn_rows(7, 0, 70, seed=1)
    assert [whole.count(row) for row in range(7)] == [10] * 7
    assert whole == [row for at in range(0, 70, 5) for row in drawn_rows(7, at, 5, seed=1)]
    assert all(sorted(whole[at : at + 7]) == [*range(7)] for at in range(0, 70, 7))
    assert whole[:7] != whole[7:14]


def test_earlier_tasks_take_turns() -> None:
    class Task:
        def losses(self, turn: int, micro_batches: int) -> Any:
            asked.append((self, turn))
            return iter([torch.tensor(2.0), None])

    asked: list[tuple[Task, int]] = []
    one, other = tasks = [Task(), Task()]
    hook: Any = METHODS_BY_NAME["rehearsal"].make({"weight": 0.5}, torch.nn.Module(), {})
    hook._tasks = tasks
    for step in (4, 5, 6):
        hook.enter_step(step, 0.0)
        assert hook.penalty() == 1.0 and hook.penalty() is None
    assert asked == [(one, 2), (other, 2), (one, 3)]


@pytest.mark.slow
def test_rehearsal_with_lora_trains_the_adapter_for_both_tasks(tmp_path: Path, learnt: Learnt) -> None:
    found = []
    for strength in (0.0, 1.0):
        methods = options("rehearsal", strength, learnt("token-classification")[0])
        config = of("text-classification", tmp_path, methods)
        done = executed({**config, "peft": {"method": "lora", "r": 2}})
        found.append(load_file(done._open("s09_train").path("adapter_model.safetensors")))
    assert not all(each.equal(found[1][name]) for name, each in found[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ewc", "rehearsal"])
def test_the_earlier_task_is_forgotten_less(name: str, tmp_path: Path) -> None:
    """The loss of the earlier task's rows, with the trained body below its head."""
    from tasks.models.bodies import doing

    before = earlier("token-classification", tmp_path, max_steps=60)
    found = []
    for methods in ({}, options(name, 1e4 if name == "ewc" else 1.0, tmp_path / "old")):
        config = of("text-classification", tmp_path, methods, max_steps=40, optim="adamw_torch", learning_rate=5e-3)
        config["model"] = {"name": str(tmp_path / "old")}
        model, _ = executed(config)
        other = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "old").eval()
        with torch.no_grad():
            found.append(float(doing(other, model)(**batch_of(before, [*range(40)])).loss))
    assert found[1] < found[0] / 2


# -- refusals ---------------------------------------------------------------------------------------------------------


def refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(load(config))


def test_earlier_tasks_that_do_not_fit_are_refused_in_a_plan(tmp_path: Path, learnt: Learnt) -> None:
    old = learnt("token-classification")[0]
    for name in ("ewc", "rehearsal"):
        field = rf"methods.{name}.previous"

        def given(*previous: Any, name: str = name) -> dict[str, Any]:
            return of("text-classification", tmp_path, {name: {"previous": [*previous]}})

        refused(given(), rf"{field}: names no earlier task; give folders .*finetune continual")
        refused(given(str(tmp_path / "bert")), rf"{field}\[0\]: .*bert' has no config.resolved.yaml, .*give the task")
        refused(given(str(tmp_path / "odl")), rf"{field}\[0\]")
        dpo = {"model": str(old), "task": "dpo", "data": str(tmp_path / "dpo.jsonl")}
        refused(given(dpo), rf"{field}\[0\]: dpo has a loss that needs more than a model and its rows")
        make_task("sequence-sequence", tmp_path)
        rows = {"task": "sequence-sequence", "data": str(tmp_path / "sequence-sequence.jsonl")}
        refused(given({"model": str(tmp_path / "t5"), **rows}), rf"{field}\[0\]: .*t5' has the model_type t5, .* bert")
    assert not (tmp_path / "store" / "records").exists(), "nothing was built"


@pytest.mark.slow
def test_another_tokenizer_and_other_classes_are_refused(tmp_path: Path, learnt: Learnt) -> None:
    old, other = learnt("token-classification")[0], tmp_path / "other"
    shutil.copytree(old, other)
    tokenizer = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(tokenizer.replace('"fruit"', '"fruits"'))
    refused(of("text-classification", tmp_path, options("ewc", 1.0, other)), "has another tokenizer than the model")
    other = tmp_path / "headless"
    make_task("text-classification", tmp_path)
    shutil.copytree(tmp_path / "bert", other)
    shutil.copyfile(old / "config.resolved.yaml", other / "config.resolved.yaml")
    with pytest.raises(ConfigError, match=r"methods.ewc.previous: headless: it has no trained head"):
        executed(of("text-classification", tmp_path, options("ewc", 1.0, other)))
    with pytest.raises(ConfigError, match=r"methods.rehearsal.previous\[0\]: it has no trained head"):
        executed(of("text-classification", tmp_path, options("rehearsal", 1.0, other)))


LORA = {"peft": {"method": "lora"}}
VIRTUAL = {"peft": {"method": "prompt_tuning", "num_virtual_tokens": 4}}
QUANT = {"quant": {"load_in_4bit": True}, **LORA}


@pytest.mark.parametrize(
    ("task", "methods", "more", "said"),
    [
        ("ner", {"l2_to_start": 1}, LORA, "methods.l2_to_start: peft.method: lora given; an adapter does not change"),
        ("ner", {"ewc": 1}, LORA, "methods.ewc: peft.method: lora given; an adapter does not change the weights"),
        ("ner", {"rehearsal": 0.1}, VIRTUAL, "methods.rehearsal: peft.method: prompt_tuning given, whose virtual tok"),
        ("ner", {"rehearsal": 0.1}, QUANT, "methods.rehearsal: quantized weights are not trained"),
        *((task, {name: {}}, {}, f"methods.{name}: {task} (learns from rewards|trains two models)")
          for name in METHODS for task, each in OBJECTIVES.items() if each.rl_options or ":" in each.auto_model),
        ("ner", {"ewc": -1}, {}, "methods.ewc.ewc_lambda: -1 given; valid: .*at least 0"),
        ("ner", {"ewc": {"samples": 0}}, {}, "methods.ewc.samples: 0 given; valid: .*at least 1"),
        ("ner", {"ewc": {"lambda": 3}}, {}, "methods.ewc.lambda: unknown name; did you mean ewc_lambda"),
        ("ner", {"ewc": {"previous": ["a", "b", "./a"]}}, {}, "methods.ewc.previous: 'a' given twice"),
        ("ner", {"rehearsal": {"previous": [{"task": "ner"}]}}, {}, r"rehearsal.previous\[0\].model: missing; The"),
        ("ner", {"rehearsal": 1.5}, {}, "methods.rehearsal.share: 1.5 given"),
        ("ner", {"rehearsal": {"rows": 5, "share": 0.2}}, {}, "methods.rehearsal: rows 5 and share 0.2 given"),
        ("ner", {"l2_to_start": -1}, {}, "methods.l2_to_start.weight: -1 given; valid: .*at least 0"),
    ],
)  # fmt: skip
def test_refused_when_the_config_is_resolved(task: str, methods: Any, more: dict[str, Any], said: str) -> None:
    config = {"model": "m", "data": {"train": "rows.csv"}, "task": task, "methods": methods, **more}
    if objective_of(task).rl_options:
        config["rl"] = {"reward_funcs": "final_answer"}
    with pytest.raises(ConfigError, match=said):
        loaded = load(config)
        resolve(loaded.config, loaded.origin)


def test_a_body_that_is_not_trained_is_refused(tmp_path: Path) -> None:
    methods = {"l2_to_start": 1, "freeze": {"layers": 2, "embeddings": True, "names": ["bert.pooler"]}}
    with pytest.raises(ConfigError, match=r"methods.l2_to_start: none of the weights it holds are trained"):
        executed(of("text-classification", tmp_path, methods))
