"""`finetune init --from` translates learning from rewards: axolotl's GRPO and LLaMA-Factory's PPO."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.init.peers.axolotl_rl import RULES
from tasks.config import ConfigError
from tests.flow.test_init_from import axolotl, check_values, factory, here, made
from tests.tiny import make_chat, make_task_rows

__all__ = ["here"]

# After axolotl's docs/rlhf.qmd and LLaMA-Factory's examples/train_lora/llama3_lora_ppo.yaml, shortened
GRPO = """
base_model: Qwen/Qwen2.5-1.5B-Instruct
vllm: {host: 0.0.0.0, port: 8000, tensor_parallel_size: 2}
rl: grpo
trl:
  beta: 0.001
  use_vllm: true
  vllm_server_host: 0.0.0.0
  max_completion_length: 192
  num_generations: 4
  num_iterations: 2
  reward_funcs: [rewards.correct, rewards.short]
  reward_weights: [1.0, 0.2]
  epsilon: 0.2
  epsilon_high: 0.28
  loss_type: dr_grpo
  scale_rewards: false
  mask_truncated_completions: true
  temperature: 0.8
  top_p: 0.95
  top_k: -1
  repetition_penalty: 1.0
  sync_ref_model: true
  ref_model_mixup_alpha: 0.6
  log_completions: true
  num_completions_to_print: 2
  importance_sampling_level: token
datasets:
  - path: rows.jsonl
adapter: lora
micro_batch_size: 8
gradient_accumulation_steps: 3
num_epochs: 1
learning_rate: 1.0e-6
"""
PPO = """
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
reward_model: saves/llama3-8b/lora/reward
stage: ppo
finetuning_type: lora
lora_target: all
dataset: identity
template: llama3
cutoff_len: 2048
output_dir: saves/llama3-8b/lora/ppo
logging_steps: 10
save_steps: 500
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-5
num_train_epochs: 3.0
warmup_ratio: 0.1
bf16: true
max_new_tokens: 512
top_k: 0
top_p: 0.9
"""


def grpo(more: Any = None, **trl: Any) -> dict[str, Any]:
    """A config of axolotl with this block `trl`, and other keys in `more`."""
    return axolotl(rl="grpo", trl={"reward_funcs": ["mine.right"], **trl}, **(more or {}))


def ppo(dataset: str = "identity", **more: Any) -> dict[str, Any]:
    return factory(dataset, stage="ppo", reward_model="rm", **more)


def test_axolotl_grpo() -> None:
    text, config, notes = made(GRPO)
    assert config.task == "grpo" and config.data.columns.prompt == "prompt"
    assert config.rl.model_dump(exclude_unset=True) == {
        "reward_funcs": ["rewards:correct", "rewards:short"], "reward_weights": [1.0, 0.2], "num_generations": 4,
        "max_completion_length": 192, "temperature": 0.8, "top_p": 0.95, "num_iterations": 2, "beta": 0.001,
        "epsilon": 0.2, "epsilon_high": 0.28, "loss_type": "dr_grpo", "scale_rewards": "none",
        "mask_truncated_completions": True, "disable_dropout": False,
    }  # fmt: skip
    train = config.train.model_dump(exclude_unset=True)
    assert (train["per_device_train_batch_size"], train["gradient_accumulation_steps"]) == (2, 3)  # 24 answers, 4 each
    assert config.data.max_length is None and config.data.overlong is None
    for key in ("trl.use_vllm", "trl.vllm_server_host", "trl.sync_ref_model", "trl.log_completions", "vllm"):
        assert key in notes["not carried over"], key
    assert "trl.use_vllm: true (answers are sampled by the trained model itself" in text
    for key in ("trl.top_k", "trl.repetition_penalty", "trl.importance_sampling_level", "trl.ref_model_mixup_alpha"):
        assert key in notes["nothing to set here"], key
    assert "lists of messages" in notes["different here"] and "to settle before a run" not in notes


def test_llama_factory_ppo() -> None:
    _, config, notes = made(PPO)
    assert config.task == "ppo" and config.data.columns.model_dump(exclude_none=True) == {"prompt": "instruction"}
    assert config.rl.model_dump(exclude_unset=True) == {
        "reward_model": "saves/llama3-8b/lora/reward", "max_completion_length": 512, "temperature": 0.95, "top_p": 0.9,
        "kl_target": 6.0, "value_learning_rate": 1e-5, "disable_dropout": False,
    }  # fmt: skip
    train = config.train.model_dump(exclude_unset=True)
    assert (train["logging_steps"], train["save_steps"], train["warmup_steps"]) == (40, 2000, 0.1)
    assert (train["per_device_train_batch_size"], train["gradient_accumulation_steps"]) == (1, 8)
    assert config.data.overlong == "truncate" and config.data.train_on is None
    assert "value_head.safetensors" in notes["different here"] and "top_k" in notes["nothing to set here"]
    assert "to settle before a run" not in notes


@pytest.mark.parametrize(
    ("size", "accumulated", "answers", "expected"),
    [
        (8, 4, 8, (1, 4)),
        (16, 1, 8, (2, 1)),
        (2, 4, 8, (1, 1)),  # 8 answers: one prompt
        (12, 2, 8, (1, 3)),
        (24, 2, 16, (1, 3)),
        (1, 1, 8, (1, 1)),  # more devices share a step there
        (32, 3, 4, (8, 3)),
    ],
)
def test_batches_of_answers_become_batches_of_prompts(
    size: int, accumulated: int, answers: int, expected: tuple[int, int]
) -> None:
    batches = {"micro_batch_size": size, "gradient_accumulation_steps": accumulated}
    _, config, notes = made(grpo(batches, num_generations=answers))
    train = config.train.model_dump()
    assert (train["per_device_train_batch_size"], train["gradient_accumulation_steps"]) == expected
    assert ("no multiple" in notes["different here"]) is (size * accumulated % answers > 0)


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (grpo(reward_funcs=["a.b.right"]), {"rl.reward_funcs": ["a.b:right"]}),
        (grpo(reward_funcs="mine.right"), {"rl.reward_funcs": ["mine:right"]}),
        (grpo(reward_funcs=["trl.rewards.think_format_reward"]), {"rl.reward_funcs": ["think_format"]}),
        (grpo(reward_funcs=["owner/rm", "mine.right"], reward_weights=[0.5, 2]),
         {"rl.reward_funcs": ["mine:right"], "rl.reward_model": "owner/rm", "rl.reward_weights": [2.0, 0.5]}),
        (grpo(reward_weights=[3], reward_funcs=["./rm"]),
         {"rl.reward_model": "./rm", "rl.reward_funcs": None, "rl.reward_weights": [3.0]}),
        (grpo({"rl_beta": 0.2}), {"rl.beta": 0.2}),
        (grpo({"rl_beta": 0.2}, beta=0.1), {"rl.beta": 0.1}),
        (grpo(scale_rewards=True), {"rl.scale_rewards": "group"}),
        (grpo(scale_rewards="batch"), {"rl.scale_rewards": "batch"}),
        (grpo(top_k=20, top_p=1.0), {"rl.top_k": 20, "rl.top_p": None}),
        (grpo(disable_dropout=True), {"rl.disable_dropout": True}),
        (grpo({"sequence_len": 300}), {"data.max_length": 300}),
        (axolotl({"field_messages": "turns"}, rl="grpo", trl={"reward_funcs": ["a.b"]}),
         {"data.columns.messages": "turns"}),
        (axolotl({"type": "chatml.intel"}, rl="dpo", trl={"beta": 0.3}), {"preference.beta": 0.3}),
        (ppo(), {"rl.top_k": 50, "rl.top_p": 0.7, "rl.max_completion_length": 1024, "rl.value_learning_rate": 5e-5}),
        (ppo(ppo_epochs=2, max_steps=10, warmup_steps=5, ppo_target=0.1),
         {"rl.num_iterations": 2, "train.max_steps": 20, "train.warmup_steps": 10, "rl.kl_target": 0.1}),
        (ppo(temperature=0.5, do_sample=True, num_beams=1), {"rl.temperature": 0.5}),
        (ppo(reward_model_type="full", finetuning_type="full"), {"rl.reward_model": "rm"}),
        (ppo(reward_model_type="full", reward_model_adapters="rm-lora"), {"rl.reward_model": "rm-lora"}),
        (ppo(reward_model_type="lora", reward_model_adapters="rm-lora"), {"rl.reward_model": "rm"}),
        (ppo("pairs"), {"data.columns.prompt": "q", "data.columns.chosen": None}),
        (ppo("named"), {"data.columns.prompt": "q", "data.columns.completion": None, "data.columns.history": "before"}),
        (ppo("turns"), {"data.columns.messages": "turns", "data.columns.system": "rules"}),
        (factory(max_steps=7, logging_steps=3), {"train.max_steps": 7, "train.logging_steps": 3}),
    ],
)  # fmt: skip
def test_values_of_keys(config: dict[str, Any], values: dict[str, Any]) -> None:
    check_values(config, values)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (grpo(use_vllm=True), "trl.use_vllm: true (answers are sampled by the trained model itself"),
        (grpo(vllm_gpu_memory_utilization=0.3), "trl.vllm_gpu_memory_utilization: 0.3 (answers are sampled by"),
        (grpo({"vllm": {"port": 1}}), "vllm (answers are sampled by the trained model itself"),
        (grpo(async_prefetch=True), "trl.async_prefetch: true (answers are sampled by"),
        (grpo(min_p=0.1), "trl.min_p: 0.1 (sampling is limited by rl.top_k"),
        (grpo(repetition_penalty=1.1), "trl.repetition_penalty: 1.1 (answers are sampled without a penalty)"),
        (grpo(importance_sampling_level="sequence"), "trl.importance_sampling_level: sequence (rl.epsilon limits"),
        (grpo(multi_objective_aggregation="normalize_then_sum"), "trl.multi_objective_aggregation: normalize_then"),
        (grpo(sync_ref_model=True), "trl.sync_ref_model: true (the reference stays the model before training)"),
        (grpo(rollout_func="env.play"), "trl.rollout_func: env.play (an answer is sampled in one turn"),
        (grpo(replay_buffer_size=100), "trl.replay_buffer_size: 100 (the answers of a step are sampled before it"),
        (grpo(num_generation=4), "trl.num_generation: 4 (it has no counterpart; did you mean num_generations?)"),
        (axolotl(rl="grpo", trl=True), "trl: true (valid: a mapping)"),
        (grpo(temperature="${T}"), "trl.temperature: ${T} (a value that is filled in by its tool"),
        (ppo(ppo_score_norm=True), "ppo_score_norm: true (advantages are whitened"),
        (ppo(ppo_whiten_rewards=True), "ppo_whiten_rewards: true (advantages are whitened"),
        (ppo(ppo_buffer_size=4), "ppo_buffer_size: 4 (answers are sampled to the prompts of one step"),
        (ppo(reward_model_quantization_bit=4), "reward_model_quantization_bit: 4 (the reward model's weights"),
        (ppo(reward_model_type="other"), "reward_model_type: other (the folder of a reward model says"),
        (ppo(num_beams=4), "num_beams: 4 (answers are sampled, without beams)"),
        (ppo(do_sample=False), "do_sample: false (answers are always sampled"),
        (ppo(repetition_penalty=1.2), "repetition_penalty: 1.2 (answers are sampled without a penalty)"),
        (ppo(ref_model="other"), "ref_model: other (the reference is the model before training)"),
    ],
)
def test_what_has_no_counterpart_is_listed_with_the_reason(config: dict[str, Any], line: str) -> None:
    written, _, notes = made(config)
    assert line in notes["not carried over"] and f"\n#   {line}" in written


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (axolotl({"type": "rewards.transform"}, rl="grpo"), "rewards.transform is a function .* data.train=FILE"),
        (grpo(reward_funcs=["owner/a", "owner/b"]), "owner/a and owner/b are reward models"),
        (grpo(loss_type="bnpo"), r"trl.loss_type: rl.loss_type here: 'bnpo' given; valid: .*dapo"),
        (grpo(num_generations=0), "trl.num_generations: rl.num_generations here: 0 given"),
        (grpo({"micro_batch_size": 0}), "micro_batch_size: train.per_device_train_batch_size here: 0 given"),
        (axolotl(rl="gdpo"), "rl: 'gdpo' is not supported; tasks are .*grpo"),
        (ppo(reward_model_type="api"), r"reward_model_type: api: .* add rl.reward_funcs="),
        (ppo(ppo_target=0), "ppo_target: rl.kl_target here: 0 given"),
        (ppo(reward_model_type="full", reward_model_adapters="a,b"), "reward_model_adapters: a reward model has one"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(config)


@pytest.mark.parametrize("value", [1, True, "x", {"a": 1}, [2]])
def test_no_key_of_the_block_is_dropped_whatever_its_value(value: object) -> None:
    for name in [*RULES, "unknown", "vllm_mode"]:
        try:
            assert f"trl.{name}" in made(grpo(**{name: value}))[0], name
        except ConfigError as error:
            assert f"trl.{name}" in str(error), name


def test_the_command_line_comes_first() -> None:
    _, config, notes = made(axolotl({"type": "mine.transform"}, rl="grpo", trl={"reward_funcs": ["mine.f"], "beta": 1}),
                            "data.train=rows.jsonl", "rl.reward_funcs=[final_answer]", "rl.beta=0.1")  # fmt: skip
    assert (config.rl.reward_funcs, config.rl.beta) == (["final_answer"], 0.1)
    assert "trl.reward_funcs" in notes["nothing to set here"] and "lists of messages" not in str(notes)
    _, config, notes = made(ppo(reward_model_type="api"), "rl.reward_funcs=[final_answer]")
    assert config.rl.reward_model is None and "to settle before a run" not in notes


def test_settings_without_effect_are_not_set() -> None:
    _, config, notes = made(axolotl(trl={"num_generations": 4, "beta": 0.1}, vllm={"port": 1}))
    assert not config.rl.model_dump(exclude_none=True) and "not carried over" not in notes
    _, config, notes = made(factory(ppo_epochs=2, reward_model="rm", top_k=9, temperature=0.5, ppo_target=3))
    assert not config.rl.model_dump(exclude_none=True) and "not carried over" not in notes


def test_rewards_that_are_missing_are_told() -> None:
    _, _, notes = made(axolotl({"type": None}, rl="grpo"))
    assert "rl.reward_funcs: missing" in notes["to settle before a run"]


COLUMN = {"columns": {"prompt": "prompt"}}


@pytest.mark.parametrize("peer", ["axolotl", "LLaMA-Factory"])
def test_plan_accepts_what_is_written(peer: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, rows = make_chat(here / "chat"), make_task_rows(here / "data" / "rows.jsonl", "prompts")
    Path("data/dataset_info.json").write_text(json.dumps({"rows": {"file_name": rows.name, **COLUMN}}))
    theirs = {
        "axolotl": axolotl({"path": str(rows), "type": None}, base_model=str(model), rl="grpo", micro_batch_size=8,
                           trl={"num_generations": 4, "max_completion_length": 8,
                                "reward_funcs": ["trl.rewards.think_format_reward"]}),
        "LLaMA-Factory": factory("rows", model_name_or_path=str(model), stage="ppo", finetuning_type="full",
                                 reward_model="rm", reward_model_type="api", max_new_tokens=8, cutoff_len=24,
                                 num_train_epochs=1),
    }[peer]  # fmt: skip
    overrides = [] if peer == "axolotl" else ["rl.reward_funcs=[think_format]"]
    Path("theirs.yml").write_text(json.dumps(theirs))
    assert main(["init", "--from", "theirs.yml", *overrides, "-o", "ours.yaml"]) == 0
    capsys.readouterr()
    assert main(["plan", "ours.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] > 0
