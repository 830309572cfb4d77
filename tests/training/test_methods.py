"""Freezing, gradual unfreezing and learning rates by layer: which parameters move, when, at which rate."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from flows.api import plan
from flows.terminal.run import show_plan
from tasks.config import ConfigError, load
from tasks.config.errors import Interrupted
from tasks.execution.estimate import Estimate, estimate
from tasks.objectives.methods import Methods, resolve_methods
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tasks.training.planned import describe, refuse_unfit
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import make_config

PLAN = {"arguments": {"learning_rate": 1e-3, "weight_decay": 0.1}, "steps": {"total": 12, "steps_per_epoch": 4}}


def bert() -> Any:
    return BertForSequenceClassification(
        BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16, vocab_size=30)
    )


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=30))


def lora() -> Any:
    return get_peft_model(bert(), LoraConfig(target_modules=["query"], modules_to_save=["classifier"]))


def fitted(model: Any, given: Mapping[str, Any]) -> list[Any]:
    """The hooks of these methods, after they have set what is trained."""
    options = resolve_methods(given)
    hooks = Methods(options).hooks(model, {**PLAN, "methods": options})
    refuse_unfit(hooks, model, PLAN | {"methods": options})
    return hooks


def frozen(model: Any) -> set[str]:
    return {name for name, each in model.named_parameters() if not each.requires_grad}


BODY = "bert.encoder.layer."


@pytest.mark.parametrize(
    ("given", "starts"),
    [
        (2, (f"{BODY}0.", f"{BODY}1.")),
        (0.7, (f"{BODY}0.", f"{BODY}1.")),
        (3, (BODY,)),  # a pooler is no layer: it may be new
        ({"embeddings": True}, ("bert.embeddings.",)),
        ({"layers": 1, "embeddings": True}, ("bert.embeddings.", f"{BODY}0.")),
        ({"names": ["bert.pooler"]}, ("bert.pooler.",)),
        ({"names": [r"bert\.encoder\.layer\.[12]"]}, (f"{BODY}1.", f"{BODY}2.")),
        ({"names": ["bert.encoder.layer.1"], "layers": 1}, (f"{BODY}0.", f"{BODY}1.")),
    ],
)
def test_freeze(given: Any, starts: tuple[str, ...]) -> None:
    model = bert()
    fitted(model, {"freeze": given})
    assert frozen(model) == {name for name, _ in model.named_parameters() if name.startswith(starts)}


def test_a_regular_expression_may_match_anywhere_by_saying_so() -> None:
    model = bert()
    fitted(model, {"freeze": {"names": [".*LayerNorm"]}})
    assert frozen(model) == {name for name, _ in model.named_parameters() if ".LayerNorm." in name}


def test_parts_of_a_plain_module_are_frozen_by_name() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    describe(fitted(model, {"freeze": {"names": ["0"]}}), model, PLAN)
    assert frozen(model) == {"0.weight", "0.bias"}
    for given in ({"freeze": 1}, {"head_learning_rate": 1}, {"unfreeze": 1}):
        with pytest.raises(ConfigError, match="the layers of Sequential are unknown"):
            fitted(model, given)


def test_a_tied_head_is_frozen_with_the_embeddings() -> None:
    model = gpt2()
    fitted(model, {"freeze": {"embeddings": True}})
    assert frozen(model) == {"transformer.wte.weight", "transformer.wpe.weight"}
    named = gpt2()
    fitted(named, {"freeze": {"names": ["lm_head"]}})
    assert frozen(named) == {"transformer.wte.weight"}


def test_with_an_adapter_its_lowest_layers_are_frozen() -> None:
    model = lora()
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    fitted(model, {"freeze": 2})
    assert frozen(model) & trained == {name for name in trained if ".layer.0." in name or ".layer.1." in name}
    assert len(frozen(model) & trained) == 4


@pytest.mark.parametrize(
    ("make", "given", "said"),
    [
        (bert, {"freeze": 4}, "BertForSequenceClassification has 3 layers; valid: 1 to 3"),
        (bert, {"freeze": 0.1}, r"freeze\.layers: 0\.1 given"),
        (bert, {"freeze": {"names": ["embeddings"]}}, r"did you mean 'bert\.embeddings'"),
        (bert, {"freeze": {"names": ["bert", "layer"]}}, "'layer' matches no parameter of BertForSequenceClassific"),
        (bert, {"freeze": {"names": [".*"]}}, "freeze would freeze every parameter"),
        (gpt2, {"freeze": {"layers": 3, "embeddings": True, "names": ["transformer.ln_f"]}}, "freeze every parameter"),
        (lora, {"freeze": {"embeddings": True}}, r"freeze\.embeddings: nothing of it would be trained anyway"),
        (lora, {"freeze": {"names": ["bert.pooler"]}}, r"freeze\.names: nothing of it would be trained anyway"),
        (gpt2, {"head_learning_rate": 1e-3}, "GPT2LMHeadModel has no head of its own"),
    ],
)
def test_what_does_not_fit_a_model_is_refused(make: Any, given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fitted(make(), given)


def test_an_optimizer_with_groups_of_its_own_is_refused() -> None:
    model, plan = (
        bert(),
        {"arguments": {"optim": "galore_adamw", **PLAN["arguments"]}, "methods": resolve_methods({"unfreeze": 1})},
    )
    hooks = Methods(plan["methods"]).hooks(model, plan)
    with pytest.raises(ConfigError, match=r"train\.optim: galore_adamw makes its own parameter groups"):
        refuse_unfit(hooks, model, plan)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"freeze": {}}, r"methods\.freeze: freezes nothing"),
        ({"freeze": 0}, r"methods\.freeze: freezes nothing"),
        ({"freeze": 1.5}, "whole number of layers"),
        ({"freeze": -1}, "at least 0"),
        ({"freeze": {"names": ["("]}}, r"freeze\.names: '\(' is not a valid regular expression"),
        ({"freeze": {"layer": 1}}, "did you mean layers"),
        ({"frozen_layers": 1}, "did you mean 'freeze'"),
        ({"unfreeze": "2 weeks"}, r"unfreeze\.every: '2 weeks' given; valid: a number of epochs"),
        ({"unfreeze": "1.5 steps"}, "given; valid: a number of epochs"),
        ({"unfreeze": 0}, "given; valid: a number of epochs"),
        ({"unfreeze": {"discriminative": 0.5}}, r"unfreeze\.discriminative: 0\.5 given; valid: .*at least 1"),
        ({"head_learning_rate": 0}, "greater than 0|above 0|more than 0"),
        ({"head_learning_rate": {}}, r"head_learning_rate\.rate: missing"),
    ],
)
def test_invalid_options_are_refused(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        resolve_methods(given)


def test_equal_durations_are_the_same_option() -> None:
    found = [resolve_methods({"unfreeze": given})["unfreeze"] for given in (True, 1, 1.0, "1", "1 epochs", " 1 epoch")
             if given is not True] + [resolve_methods({"unfreeze": {"discriminative": False}})["unfreeze"]]  # fmt: skip
    assert all(each == {"every": "1 epoch", "order": "top_down", "discriminative": None} for each in found)
    assert resolve_methods({"unfreeze": "200 step"})["unfreeze"]["every"] == "200 steps"
    assert resolve_methods({"unfreeze": 0.5})["unfreeze"]["every"] == "0.5 epochs"


@pytest.mark.parametrize(
    ("methods", "train", "said"),
    [
        ({"unfreeze": {"discriminative": 2.6}, "layerwise_lr_decay": 0.9}, {}, r"unfreeze\.discriminative: .* leave"),
        ({"head_learning_rate": 4e-3, "layerwise_lr_decay": 0.9}, {}, "head_multiplier: 2"),
        ({"freeze": 1}, {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
         "use_reentrant: true given"),
    ],
)  # fmt: skip
def test_methods_that_contradict_others_are_refused(
    methods: Mapping[str, Any], train: Mapping[str, Any], said: str, tmp_path: Path
) -> None:
    config = make_config(tmp_path, tmp_path, tmp_path, methods=methods)
    config["train"] |= train
    loaded = load(config)
    with pytest.raises(ConfigError, match=said):
        resolve(loaded.config, loaded.origin)


UNFREEZE = {"unfreeze": {"every": "2 steps"}}


@pytest.mark.parametrize("order", [1, -1])
def test_each_phase_trains_one_more_group_whatever_is_frozen_stays_so(order: int) -> None:
    model = bert()
    methods = dict([*UNFREEZE.items(), ("freeze", {"layers": 1, "embeddings": True})][::order])
    hooks = fitted(model, methods)
    groups, _ = describe(hooks, model, PLAN)
    assert [(each["group"], each["from_step"], each["learning_rate"]) for each in groups] == [
        ("embeddings, layer 1", 0, None), ("layer 2", 4, 1e-3), ("layer 3", 2, 1e-3), ("head", 0, 1e-3)
    ]  # fmt: skip
    trained = []
    for step in (5, 0, 1, 2, 3, 4, 100):  # of the step alone, in any order
        for hook in hooks:
            hook.enter_step(step, step / 4)
        trained.append({name for name, each in model.named_parameters() if each.requires_grad})
    three, two, one = (
        {name for name, _ in model.named_parameters() if name.startswith(start)}
        for start in (("bert.pooler", "classifier", f"{BODY}2.", f"{BODY}1."),
                      ("bert.pooler", "classifier", f"{BODY}2."), ("classifier",))
    )  # fmt: skip
    assert trained == [three, one, one, two, two, three, three]


def test_a_model_without_a_head_of_its_own_begins_with_its_top_layer() -> None:
    model = gpt2()
    (hook,) = fitted(model, {"unfreeze": {"every": "1 epoch", "discriminative": 2}})
    groups, warnings = describe([hook], model, PLAN)
    assert [(each["group"], each["from_step"], each["learning_rate"]) for each in groups] == [
        ("embeddings", 12, 1.25e-4), ("layer 1", 8, 2.5e-4), ("layer 2", 4, 5e-4), ("layer 3", 0, 1e-3)
    ]  # fmt: skip
    (said,) = warnings
    assert "the lowest 1 of 4 groups" in said and "every: 3 steps" in said


@pytest.mark.parametrize("order", [1, -1])
def test_the_head_s_rate_is_its_own(order: int) -> None:
    model = bert()
    given = {"head_learning_rate": 1e-2, "unfreeze": {"every": "1 step", "discriminative": 2}}
    groups, warnings = describe(fitted(model, dict([*given.items()][::order])), model, PLAN)
    assert [(each["group"], each["learning_rate"]) for each in groups] == [
        ("embeddings", 1e-3 / 16), ("layer 1", 1e-3 / 8), ("layer 2", 1e-3 / 4), ("layer 3", 1e-3 / 2), ("head", 1e-2)
    ]  # fmt: skip
    assert warnings == []


def test_a_cached_run_is_not_checked_again(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check imports torch, which takes longer than to look up all stages."""
    config = run_of(bert, rows, tmp_path / "store", {"freeze": 1}, max_steps=1)
    executed(config)
    monkeypatch.setattr("tasks.training.planned.refuse_unfit", None)
    assert all(entry.state == "cached" for entry in executed(config).stages)


def costs(config: Mapping[str, Any]) -> Estimate:
    found = estimate(*plan(load(config)))
    assert found is not None
    return found


PLANS = {
    "freeze": ({"freeze": {"layers": 1, "embeddings": True}},
               [("embeddings, layer 1", 13056, None, 0), ("layer 2, head", 9699, 2e-3, 0)]),
    "unfreeze": ({"unfreeze": "5 steps"},
                 [("embeddings", 4512, 2e-3, 15), ("layer 1", 8544, 2e-3, 10), ("layer 2", 9600, 2e-3, 5),
                  ("head", 99, 2e-3, 0)]),
    "head": ({"head_learning_rate": 0.01}, [("embeddings, layers 1 to 2", 22656, 2e-3, 0), ("head", 99, 0.01, 0)]),
    "decay": ({"layerwise_lr_decay": 0.5},
              [("embeddings", 4512, 5e-4, 0), ("layer 1", 8544, 1e-3, 0), ("layer 2", 9600, 2e-3, 0),
               ("head", 99, 4e-3, 0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_shows_the_groups(name: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    methods, expected = PLANS[name]
    found = costs(make_config(bert, rows, tmp_path / "store", methods=methods))
    names = ("group", "parameters", "learning_rate", "from_step")
    assert [tuple(each[name] for name in names) for each in found.groups] == expected
    assert found.steps == 16
    trained = sum(size for _, size, rate, start in expected if rate is not None and start < 16)
    assert found.trainable == trained
    assert json.loads(json.dumps(found.groups))


def test_a_plan_s_table_in_a_terminal(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = {"unfreeze": "8 steps", "freeze": {"embeddings": True}}
    resolved, context = plan(load(make_config(bert, rows, tmp_path / "store", methods=methods)))
    show_plan(resolved, context, estimate(resolved, context))
    table = [[cell.strip() for cell in line.strip("│").split("│")] for line in capsys.readouterr().out.splitlines()
             if line.startswith(("│ embeddings", "│ layer", "│ head"))]  # fmt: skip
    assert table == [
        ["embeddings", "4,512", "frozen", ""], ["layer 1", "8,544", "0.002", "never"],
        ["layer 2", "9,600", "0.002", "8"], ["head", "99", "0.002", "0"],
    ]  # fmt: skip


def test_a_plan_of_frozen_layers_needs_less_memory(bert: Path, rows: Path, tmp_path: Path) -> None:
    full = costs(make_config(bert, rows, tmp_path / "store"))
    half = costs(make_config(bert, rows, tmp_path / "store", methods={"freeze": {"layers": 2, "embeddings": True}}))
    assert full.groups == () and half.trainable < full.trainable
    assert full.memory - half.memory == (full.trainable - half.trainable) * 12
    assert full.disk - half.disk == (full.trainable - half.trainable) * 8 * 2  # the weights are saved whole


@pytest.fixture(scope="module")
def albert(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose layers share their weights."""
    folder = tmp_path_factory.mktemp("albert")
    for path in bert.glob("tok*"):
        (folder / path.name).write_bytes(path.read_bytes())
    words = json.loads((bert / "config.json").read_text())["vocab_size"]
    torch.manual_seed(1)
    AlbertModel(AlbertConfig(vocab_size=words, embedding_size=16, hidden_size=32, num_hidden_layers=2, pad_token_id=0,
                             num_attention_heads=2, intermediate_size=32, max_position_embeddings=64)
                ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize("methods", [{"freeze": 1}, {"unfreeze": 1}, {"layerwise_lr_decay": 0.9}])
def test_unknown_layers_are_refused_before_anything_is_tokenized(
    methods: Mapping[str, Any], albert: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(albert, rows, tmp_path / "store", methods=methods)
    with pytest.raises(ConfigError, match="the layers of AlbertForSequenceClassification are unknown"):
        plan(load(config))
    with pytest.raises(ConfigError, match="the layers of AlbertForSequenceClassification are unknown"):
        executed(config)
    assert not list((tmp_path / "store").glob("records/s05_tokenize/*"))


def test_named_parts_and_the_head_s_rate_need_no_known_layers(albert: Path, rows: Path, tmp_path: Path) -> None:
    methods = {"freeze": {"names": ["albert.embeddings"]}, "head_learning_rate": 0.5}
    found = costs(make_config(albert, rows, tmp_path / "store", methods=methods))
    assert {each["learning_rate"] for each in found.groups} == {None, 2e-3, 0.5}


class Recorded:
    """What a training did: the parameters after each step, and the optimizer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[int] = []
        self.weights: dict[int, dict[str, torch.Tensor]] = {}
        self.optimizer: Any = None
        self.stop_at: int | None = None
        step, record = FinetuneTrainer.training_step, self

        def noted(trainer: Any, model: PreTrainedModel, *arguments: Any, **named: Any) -> torch.Tensor:
            record.steps.append(trainer.state.global_step)
            record.optimizer = trainer.optimizer
            record.weights[trainer.state.global_step] = {
                name: each.detach().clone() for name, each in model.named_parameters()
            }
            found = step(trainer, model, *arguments, **named)
            record.with_gradients = {name for name, each in model.named_parameters() if each.grad is not None}
            if record.stop_at == trainer.state.global_step:
                record.stop_at = None  # a second signal would end the process at once
                os.kill(os.getpid(), signal.SIGTERM)
            return found

        monkeypatch.setattr(FinetuneTrainer, "training_step", noted)

    def moved(self, first: int, last: int) -> set[str]:
        """The parameters that steps `first` … `last - 1` changed."""
        before, after = self.weights[first], self.weights[last]
        return {name for name in before if not before[name].equal(after[name])}


def weights(done: FineTuned) -> dict[str, torch.Tensor]:
    return load_file(done._open("s09_train").path("model.safetensors"))


def starting(*starts: str) -> Any:
    return lambda names: {name for name in names if name.startswith(starts)}


COMMON: dict[str, Any] = {
    "max_steps": 8, "eval_strategy": "no", "weight_decay": 0.5, "warmup_steps": 0, "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
}  # fmt: skip


def run_of(bert: Path, rows: Path, store: Path, methods: Mapping[str, Any], **train: Any) -> dict[str, Any]:
    config = make_config(bert, rows, store, methods=methods)
    config["data"]["split"] = {"validation": 0, "test": 0}
    config["train"] |= COMMON | train
    return config


def test_frozen_layers_do_not_move(bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by weight decay; and a model saved then loads to the same outputs."""
    recorded = Recorded(monkeypatch)
    config = run_of(bert, rows, tmp_path / "store", {"freeze": {"layers": 1, "embeddings": True}}, max_steps=4)
    config["output_dir"] = str(tmp_path / "model")
    done = executed(config)
    names = set(recorded.weights[0])
    still = starting("bert.embeddings.", f"{BODY}0.")(names)
    assert recorded.moved(0, 3) == names - still
    assert recorded.with_gradients == names - still
    sizes = sum(each.numel() for group in recorded.optimizer.param_groups for each in group["params"])
    assert sizes == sum(recorded.weights[0][name].numel() for name in names - still)
    base, found = load_file(bert / "model.safetensors"), weights(done)
    assert all(found[name].equal(base[name.removeprefix("bert.")]) for name in still)
    loaded = BertForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    ids = torch.arange(5, 13)[None]
    assert loaded(ids).logits.equal(done.model(ids).logits)


@pytest.mark.parametrize(
    ("stop_at", "extra"),
    [(2, {}), (3, {"gradient_checkpointing": True, "gradient_accumulation_steps": 2})],
    ids=["within a phase", "at its end, with checkpointing"],
)
def test_unfreezing_stopped_and_resumed_ends_in_the_same_bits(
    stop_at: int, extra: Mapping[str, Any], bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers not trained yet have no state in the optimizer, neither in memory nor in the checkpoint."""
    recorded = Recorded(monkeypatch)
    methods = {"unfreeze": {"every": "2 steps", "discriminative": 1.5}, "freeze": {"embeddings": True}}
    whole = weights(executed(run_of(bert, rows, tmp_path / "whole", methods, **extra)))
    names = set(recorded.weights[0])
    head, top = starting("classifier.")(names), starting("classifier.", f"{BODY}1.", "bert.pooler.")(names)
    body = starting("classifier.", "bert.encoder.", "bert.pooler.")(names)
    assert [recorded.moved(at, at + 1) for at in range(6)] == [head, head, top, top, body, body]
    assert len(recorded.optimizer.state) == len(body)

    config = run_of(bert, rows, tmp_path / "stopped", methods, **extra)
    recorded.stop_at = stop_at
    with pytest.raises(Interrupted):
        executed(config)
    assert recorded.with_gradients == top
    assert len(recorded.optimizer.state) == len(top)
    (saved,) = (tmp_path / "stopped").rglob(f"checkpoint-{stop_at + 1}/optimizer.json")
    assert len(json.loads(saved.read_text())["state"]) == len(top)
    recorded.steps = []
    resumed = weights(executed(config))
    assert set(recorded.steps) == {*range(stop_at + 1, 8)}
    assert all(whole[name].equal(resumed[name]) for name in whole)


@pytest.mark.parametrize(
    "methods",
    slow_except(
        [{"layerwise_lr_decay": 0.5}],
        [{"freeze": {"layers": 1, "embeddings": True}}, {"head_learning_rate": 5e-2}, {"layerwise_lr_decay": 0.5}],
    ),
    ids=lambda methods: next(iter(methods)),
)
def test_each_method_stopped_and_resumed_ends_in_the_same_bits(
    methods: Mapping[str, Any], bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(monkeypatch)
    plain = weights(executed(run_of(bert, rows, tmp_path / "plain", {}, max_steps=4)))
    whole = weights(executed(run_of(bert, rows, tmp_path / "whole", methods, max_steps=4)))
    assert any(not plain[name].equal(whole[name]) for name in plain)
    recorded.stop_at, config = 1, run_of(bert, rows, tmp_path / "stopped", methods, max_steps=4)
    with pytest.raises(Interrupted):
        executed(config)
    recorded.steps = []
    resumed = weights(executed(config))
    assert recorded.steps == [2, 3]
    assert all(whole[name].equal(resumed[name]) for name in whole)


def test_the_head_s_group_has_its_rate_in_training(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(monkeypatch)
    executed(run_of(bert, rows, tmp_path / "store", {"head_learning_rate": 0.5}, max_steps=1))
    sizes = {}
    for group in recorded.optimizer.param_groups:
        sizes[group["lr"]] = sizes.get(group["lr"], 0) + sum(each.numel() for each in group["params"])
    assert sizes == {1e-2: 22656, 0.5: 99}


def test_a_schedule_too_short_to_train_everything_is_said(bert: Path, rows: Path, tmp_path: Path) -> None:
    said = "the lowest 2 of 4 groups (head, layers, embeddings) are never trained: the training has 2 steps"
    config = run_of(bert, rows, tmp_path / "store", {"unfreeze": "1 step"}, max_steps=2)
    done = executed(config)
    assert any(said in line for line in done.warnings)
