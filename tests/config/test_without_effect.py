"""A wish that a task does not hear is refused; a default that stands in a resolved config is none."""

from typing import Any

import pytest

from tasks.config import ConfigError, RunConfig
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
