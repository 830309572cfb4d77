"""A wish that a task does not hear is refused; a default that stands in a resolved config is none."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tasks.config import ConfigError, RunConfig
from tasks.inference.predict import config_for, with_arguments
from tasks.inference.saved_model import Saved
from tasks.objectives import OBJECTIVES
from tasks.objectives.presets import resolve
from tests.shipped import needed


def resolved(task: str, data: dict[str, Any], **more: Any) -> RunConfig:
    config = RunConfig.model_validate({"model": "m", "data": {"train": "rows.csv", **data}, "task": task, **more})
    return resolve(config, {})[0]


@pytest.mark.parametrize(
    ("task", "data", "says"),
    [
        ("text-classification", {"merge": "pack"},
         "data.merge: text-classification has none; language-generation, language-modeling, token-detection has"),
        ("text-classification", {"prefix": "x: "}, "data.prefix: text-classification has none; sequence-sequence has"),
        ("fill-mask", {"packing": True}, "data.packing: language-modeling has none; language-generation, sft has"),
        ("clm", {"mlm_probability": 0.2}, "data.mlm_probability: .* language-modeling, token-detection has"),
        ("clm", {"stride": 9}, "data.stride: language-generation has none; text-classification, regression"),
        ("regression", {"label_all_tokens": True}, "data.label_all_tokens: .* token-classification has"),
        ("text-classification", {"stride": 9}, "data.stride: is only used with data.overlong: window"),
        ("ner", {"columns": {"question": "q"}}, "data.columns.question: .* its own are sentence, spans, tags, text"),
    ],
)  # fmt: skip
def test_a_wish_without_effect_is_refused(task: str, data: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        resolved(task, data)


def test_a_wish_with_effect_is_not() -> None:
    assert resolved("text-classification", {"stride": 9, "overlong": "window"}).data.stride == 9
    assert resolved("ner", {"columns": {"text": "t", "spans": "s"}}).data.columns.spans == "s"
    assert resolved("clm", {"packing": True, "merge": "pack"}).data.packing


@pytest.mark.parametrize("preset", ["recommended", "field", "txtai"])
@pytest.mark.parametrize("task", OBJECTIVES)
@pytest.mark.parametrize("overlong", ["truncate", None])
def test_a_resolved_config_can_be_run_again(task: str, preset: str, overlong: str | None) -> None:
    once = resolved(task, {"overlong": overlong}, preset=preset, **needed(task))
    again, _ = resolve(RunConfig.model_validate(once.model_dump()), {})
    assert again == once


@pytest.mark.parametrize("task", [name for name, objective in OBJECTIVES.items() if not objective.generates])
@pytest.mark.parametrize("name", ["generation_max_length", "generation_num_beams"])
def test_limits_of_texts_are_refused_where_none_are_generated(task: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"train.{name}: {task} generates no texts; sequence-sequence, .*sft.* do"):
        resolved(task, {}, train={name: 2}, **needed(task))


def test_tasks_of_which_a_model_writes_texts_have_limits() -> None:
    writing = {"sequence-sequence", "language-generation", "sft", "dpo", "kto", "grpo", "ppo"}
    assert {name for name, objective in OBJECTIVES.items() if objective.generates} == writing
    for task in writing:
        assert resolved(task, {}, train={"generation_max_length": 2}, **needed(task)).task == task


@pytest.mark.parametrize(
    ("task", "labelled", "switch", "refused"),
    [
        ("text-classification", False, None, True),
        ("reward", True, None, True),
        ("sft", False, None, False),
        ("sft", True, True, True),  # `finetune evaluate` scores the likelihood of answers
        ("sequence-sequence", True, None, False),
        ("sequence-sequence", True, False, True),
        ("sequence-sequence", False, False, False),
    ],
)
def test_inference_refuses_limits_of_texts_that_it_does_not_generate(
    task: str, labelled: bool, switch: bool | None, refused: bool, tmp_path: Path
) -> None:
    given = {} if switch is None else {"predict_with_generate": switch}
    saved = Saved(tmp_path, task, {}, {}, {}, {}, {}, given, {}, 0)
    config = config_for("rows.csv", None, ["train.generation_max_length=5"])
    with pytest.raises(ConfigError, match="generation_max_length: has no effect") if refused else nullcontext():
        assert with_arguments(saved, config, labelled).arguments == {**given, "generation_max_length": 5}
