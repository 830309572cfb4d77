"""Fields of peft's methods in a config: each valid one is taken, each other refused with what is valid."""

from typing import Any

import pytest
from pydantic import ValidationError

from flows.txtai.arguments import adapter_of
from tasks.config import ConfigError, OtherTuner, RunConfig, load
from tasks.config.reading.problems import problems
from tasks.objectives.presets import resolve


def section(peft: Any) -> Any:
    return RunConfig.model_validate({"model": "m", "data": "d", "peft": peft}).peft


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("iia3", "peft.method: 'iia3' given; valid: none, lora, adalora, .*did you mean ia3"),
        ("xlora", "peft.method: 'xlora' given, which is not supported: it mixes several trained adapters"),
        ({"r": 4}, "peft.method: missing; valid: none, lora, "),
        ({"method": 3}, "peft.method: 3 given; valid: none, lora, "),
        ({"method": "ia3", "r": 4}, r"peft.r: ia3 has no such field \(lora, .*\); valid: target_modules, "),
        ({"method": "ia3", "feedforward_module": ["x"]}, "unknown name; did you mean peft.feedforward_modules"),
        ({"method": "none", "boft_dropout": 0.1}, "peft.boft_dropout: valid only with peft.method: boft"),
        ({"method": "vera", "r": True}, "peft.r: true given; valid: a whole number"),
        ({"method": "vera", "r": "many"}, "peft.r: 'many' given; valid: a whole number"),
        ({"method": "lora", "rank_pattern": 3}, "peft.rank_pattern: 3 given; valid: a mapping"),
        ({"method": "lora", "inference_mode": True}, "peft.inference_mode: not allowed: the adapter is trained"),
        ({"method": "lora", "eva_config": {}}, "peft.eva_config: not allowed: .*computed from samples"),
        ({"method": "lora", "init_lora_weights": "eva"}, "peft.init_lora_weights: not allowed: EVA"),
        (
            {"method": "lora", "init_lora_weights": "loftq"},
            "not allowed: LoftQ .* not saved, .* on a GPU only; use quant",
        ),
        ({"method": "lora", "loftq_config": {}}, "peft.loftq_config: not allowed: LoftQ .* on a GPU only"),
        ({"method": "lora", "init_lora_weights": "pissa_niter_4"}, "not allowed: the random SVD .*use pissa"),
        ({"method": "adalora", "total_step": 9}, "peft.total_step: not allowed: it is the number of steps"),
        ({"method": "prompt_tuning", "target_modules": "x"}, "peft.target_modules: prompt_tuning has no such field"),
        ({"method": "bottleneck", "reduction": 4}, "unknown name; did you mean peft.reduction_factor"),
        ({"method": "bottleneck", "non_linearity": "rleu"}, "peft.non_linearity: 'rleu' given; .*did you mean relu"),
        ({"method": "bottleneck", "r": 4}, r"peft.r: bottleneck has no such field .*; valid: .*reduction_factor"),
        ({"method": "loha", "target_modules": ["https://me:pass@host/x"]}, "credentials"),
        ({"method": "loha", "rank_pattern": {"https://me:pass@host/x": 3}}, "credentials"),
    ],
)
def test_invalid_fields(given: Any, says: str) -> None:
    with pytest.raises(ValidationError) as raised:
        section(given)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError("; ".join(f"{found.path}: {found.text}" for found in problems(raised.value)))


def test_numbers_from_text_are_numbers() -> None:
    assert section({"method": "vera", "r": "16"}) == section({"method": "vera", "r": 16})


def test_every_field_of_lora_that_is_no_plain_field_is_kept() -> None:
    found = section({"method": "lora", "layers_to_transform": [1, 2], "rank_pattern": {"value": 2}})
    assert found.options == {"layers_to_transform": [1, 2], "rank_pattern": {"value": 2}}


@pytest.mark.parametrize(
    ("method", "rate"), [("ia3", 3e-3), ("bottleneck", 1e-4), ("prompt_tuning", 3e-2), ("loha", 3e-4), ("lora", 3e-4)]
)
def test_learning_rates(method: str, rate: float) -> None:
    loaded = load({"model": "m", "data": "d.csv", "peft": method})
    config, origin = resolve(loaded.config, loaded.origin)
    assert config.train.learning_rate == rate
    assert method in ("loha", "lora") or origin["train.learning_rate"] == f"usual for {method}"
    if isinstance(config.peft, OtherTuner):
        assert config.peft.options == {}, "LoRA's defaults are not those of other methods"


def test_configs_of_peft_for_txtai() -> None:
    from peft import AdaLoraConfig, IA3Config, LoraConfig

    lora = adapter_of(
        LoraConfig(r=4, target_modules=["value", "query"], rank_pattern={"value": 2}, task_type="SEQ_CLS")
    )
    assert lora == {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["query", "value"],
                    "rank_pattern": {"value": 2}, "method": "lora"}  # fmt: skip
    assert section(lora).rank_pattern == {"value": 2}
    assert adapter_of(IA3Config(target_modules=["key"], feedforward_modules=[])) == {
        "target_modules": ["key"], "feedforward_modules": [], "method": "ia3",
    }  # fmt: skip
    assert adapter_of(AdaLoraConfig(target_r=4, tinit=2, total_step=9)) == {
        "target_r": 4,
        "tinit": 2,
        "method": "adalora",
    }
    with pytest.raises(ConfigError, match=r"peft\.rnk"):
        load({"model": "m", "data": "d.csv", "peft": adapter_of({"rnk": 4})})
