"""`finetune init --from` translates configs of axolotl and LLaMA-Factory, and names every key that it does not."""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.init.peers import stages
from flows.init.peers.axolotl import TABLE as axolotl_table
from flows.init.peers.draft import translate
from flows.init.peers.llama_factory import TABLE as factory_table
from tasks.config import ConfigError, RunConfig, load
from tasks.objectives import objectives
from tests.tiny import make_chat, make_task_rows

# axolotl's examples/llama-3/lora-1b.yml and qlora.yml, LLaMA-Factory's examples/train_lora/qwen3_lora_sft.yaml and
# examples/train_full/qwen3_full_sft.yaml, shortened
LORA = """
base_model: NousResearch/Llama-3.2-1B
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
output_dir: ./outputs/lora-out
adapter: lora
lora_model_dir:
sequence_len: 2048
sample_packing: true
eval_sample_packing: true
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj]
wandb_project:
gradient_accumulation_steps: 2
micro_batch_size: 2
num_epochs: 1
optimizer: adamw_torch
lr_scheduler: cosine
learning_rate: 2e-4
bf16: auto
tf32: false
gradient_checkpointing: true
attn_implementation: flash_attention_2
loss_watchdog_threshold: 5.0
warmup_ratio: 0.1
evals_per_epoch: 4
saves_per_epoch: 1
weight_decay: 0.0
special_tokens:
  pad_token: "<|end_of_text|>"
"""
QLORA = """
base_model: NousResearch/Meta-Llama-3-8B
model_type: AutoModelForCausalLM
load_in_8bit: false
load_in_4bit: true
datasets:
  - path: aaditya/alpaca_subset_1
    type: alpaca
val_set_size: 0
adapter: qlora
lora_r: 32
lora_alpha: 16
lora_target_linear: true
micro_batch_size: 2
num_epochs: 4
learning_rate: 0.0002
flash_attention: true
deepspeed: deepspeed_configs/zero1.json
wandb_project: mine
saves_per_epoch: 2
evals_per_epoch: 4
"""
FACTORY_LORA = """
model_name_or_path: Qwen/Qwen3-4B-Instruct-2507
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity,alpaca_en_demo
template: qwen3_nothink
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16
output_dir: saves/qwen3-4b/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
report_to: none
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
resume_from_checkpoint: null
"""
FACTORY_FULL = """
model_name_or_path: Qwen/Qwen3-4B-Instruct-2507
stage: sft
do_train: true
finetuning_type: full
deepspeed: examples/deepspeed/ds_z3_config.json
dataset: identity
template: qwen3_nothink
per_device_train_batch_size: 1
learning_rate: 1.0e-5
bf16: true
val_size: 0.1
eval_strategy: steps
eval_steps: 500
"""
INFO: Mapping[str, Any] = {
    "identity": {"file_name": "identity.json"},
    "alpaca_en_demo": {"file_name": "alpaca_en_demo.json"},
    "hub": {"hf_hub_url": "owner/rows", "subset": "en", "split": "test"},
    "named": {"file_name": "n.json", "columns": {"prompt": "q", "response": "a", "history": "before"}},
    "texts": {"file_name": "t.jsonl", "columns": {"prompt": "text"}},
    "turns": {
        "file_name": "turns.json", "formatting": "sharegpt", "columns": {"messages": "turns", "system": "rules"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    },
    "keys": {"file_name": "k.json", "formatting": "sharegpt", "tags": {"role_tag": "who", "content_tag": "said"}},
    "authors": {"file_name": "k.json", "formatting": "sharegpt", "tags": {"user_tag": "customer"}},
    "pairs": {"file_name": "p.json", "ranking": True, "columns": {"prompt": "q", "chosen": "yes", "rejected": "no"}},
    "tagged": {"file_name": "k.json", "columns": {"prompt": "q", "response": "a", "kto_tag": "good"}},
    "pictures": {"file_name": "i.json", "columns": {"prompt": "q", "response": "a", "images": "images"}},
    "elsewhere": {"ms_hub_url": "owner/rows"},
    "columns": {"file_name": "c.json", "columns": {"question": "q"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_STORE", str(tmp_path / "store"))
    Path("data").mkdir()
    Path("data/dataset_info.json").write_text(json.dumps(INFO))
    return tmp_path


def made(text: str | Mapping[str, Any], *overrides: str) -> tuple[str, RunConfig, dict[str, str]]:
    """What is written, its config as `finetune run` reads it, and the notes by title, joined."""
    Path("theirs.yml").write_text(text if isinstance(text, str) else json.dumps(text))
    written, notes = translate("theirs.yml", overrides)
    Path("ours.yaml").write_text(written)
    found: dict[str, str] = {}
    for note in notes:
        title, _, line = note.partition(": ")
        found[title] = f"{found[title]}; {line}" if title in found else line
    return written, load("ours.yaml").config, found


def axolotl(entry: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    rows = {"path": "rows.jsonl", "type": "chat_template", **(entry or {})}
    return {"base_model": "m", "datasets": [rows], "learning_rate": 1e-4, **more}


def factory(dataset: str = "identity", **more: Any) -> dict[str, Any]:
    return {"model_name_or_path": "m", "stage": "sft", "dataset": dataset, **more}


def test_axolotl_lora() -> None:
    text, config, notes = made(LORA)
    assert (config.task, config.output_dir, config.model.name) == (
        "sft",
        "./outputs/lora-out",
        "NousResearch/Llama-3.2-1B",
    )
    assert config.model.attn_implementation == "flash_attention_2" and config.model.dtype == "auto"
    assert config.data.train == "hf:teknium/GPT4-LLM-Cleaned#train" and config.data.split.validation == 0.1
    assert (config.data.columns.prompt, config.data.columns.completion) == ("instruction", "output")
    assert (config.data.max_length, config.data.overlong, config.data.packing) == (2048, "drop", True)
    assert config.peft.model_dump(exclude_unset=True) == {
        "method": "lora", "r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"],
    }  # fmt: skip
    train = config.train.model_dump(exclude_unset=True)
    assert train == {
        "learning_rate": 2e-4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
        "num_train_epochs": 1.0, "weight_decay": 0.0, "warmup_steps": 0.1, "lr_scheduler_type": "cosine",
        "optim": "adamw_torch", "gradient_checkpointing": True, "eval_strategy": "steps", "eval_steps": 0.25,
        "save_strategy": "epoch", "tf32": False,
    }  # fmt: skip
    assert "  r: 16  # lora_r\n" in text and "overlong: drop  # the default of axolotl" in text
    assert "special_tokens" in notes["not carried over"] and "loss_watchdog_threshold: 5.0" in text
    assert notes["empty or off there"] == "lora_model_dir, wandb_project"
    assert "eval_sample_packing, bf16" in notes["nothing to set here"]
    assert "rendered by the model's chat template" in notes["different here"]


def test_axolotl_qlora() -> None:
    text, config, notes = made(QLORA)
    assert config.quant.load_in_4bit and config.peft.model_dump(exclude_unset=True)["target_modules"] == "all-linear"
    assert config.data.split.validation == 0 and config.data.max_length == 512
    assert config.train.save_strategy == "steps" and config.train.save_steps == 0.125
    assert config.train.eval_strategy is None and "evals_per_epoch" in notes["nothing to set here"]
    assert "one device" in notes["not carried over"] and "WANDB_PROJECT" in notes["not carried over"]
    assert config.model.attn_implementation == "flash_attention_2"
    assert "load_in_8bit: false  # load_in_8bit" in text


def test_llama_factory_lora() -> None:
    text, config, notes = made(FACTORY_LORA)
    assert (config.task, config.model.name, config.model.trust_remote_code) == (
        "sft",
        "Qwen/Qwen3-4B-Instruct-2507",
        True,
    )
    assert config.data.train == ["data/identity.json", "data/alpaca_en_demo.json"] and config.data.max_length == 2048
    assert config.data.max_train_samples == 2000 and config.data.split.validation == 0
    assert config.peft.model_dump(exclude_unset=True) == {
        "method": "lora", "r": 8, "lora_dropout": 0.0, "target_modules": "all-linear",
    }  # fmt: skip
    assert config.train.bf16 and config.model.dtype == "bfloat16" and config.train.warmup_steps == 0.1
    assert config.train.gradient_checkpointing and config.train.weight_decay == 0
    assert "template: qwen3_nothink" in notes["not carried over"] and "resume_from_checkpoint" in text
    assert "do_train, preprocessing_num_workers, plot_loss, overwrite_output_dir" in notes["nothing to set here"]


def test_llama_factory_full() -> None:
    _, config, notes = made(FACTORY_FULL)
    assert config.peft.method == "none" and config.model.dtype == "auto" and config.train.learning_rate == 1e-5
    assert config.train.eval_strategy == "steps" and config.train.eval_steps == 500
    assert "deepspeed: examples/deepspeed/ds_z3_config.json (a run trains on one device" in notes["not carried over"]


@pytest.mark.parametrize("text", [LORA, QLORA, FACTORY_LORA, FACTORY_FULL])
def test_no_key_is_dropped(text: str) -> None:
    written = made(text)[0]
    keys = [line.partition(":")[0] for line in text.splitlines() if line and line[0].isalpha()]
    assert [key for key in keys if key not in written] == []


@pytest.mark.parametrize("value", [1, False, "x", {"a": 1}])
def test_no_key_is_dropped_whatever_its_value(value: object) -> None:
    for config, table in ((axolotl(), axolotl_table), (factory(), factory_table)):
        for key in [*table.rules, "learning_rate", "tf32", "not_a_key"]:
            with suppress(ConfigError):  # named there
                assert key in made({**config, key: value})[0], key


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (axolotl({"field_messages": "turns"}), {"messages": "turns"}),
        (axolotl({"message_property_mappings": {"role": "from", "content": "value"}}), {"messages": "messages"}),
        (axolotl({"roles": {"user": ["human"], "assistant": ["gpt"]}, "field_tools": "functions"}),
         {"messages": "messages", "tools": "functions"}),
        (axolotl({"type": "sharegpt"}), {"messages": "conversations"}),
        (axolotl({"type": "alpaca"}), {"prompt": "instruction", "completion": "output"}),
        (axolotl({"type": "alpaca_chat.load_qa"}), {"prompt": "question", "completion": "answer"}),
        (axolotl({"type": "alpaca_w_system.load_open_orca"}),
         {"system": "system", "prompt": "instruction", "completion": "output"}),
        (axolotl({"type": {"field_instruction": "q", "field_output": "a", "field_system": "s"}}),
         {"prompt": "q", "completion": "a", "system": "s"}),
        (axolotl({"type": "completion", "field": "body"}), {"text": "body"}),
        (axolotl({"type": "completion"}), {"text": "text"}),
        (factory("named"), {"prompt": "q", "completion": "a", "history": "before"}),
        (factory("turns"), {"messages": "turns", "system": "rules"}),
        (factory("texts", stage="pt"), {"text": "text"}),
    ],
)  # fmt: skip
def test_columns_of_entries(config: dict[str, Any], expected: dict[str, str]) -> None:
    _, ours, _ = made(config)
    assert {role: column for role, column in ours.data.columns.model_dump().items() if column} == expected
    assert ours.task == ("language-generation" if "text" in expected else "sft")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (axolotl({"path": "owner/rows", "name": "en", "revision": "v1", "split": "test[:9]"}),
         "hf:owner/rows:en@v1#test[:9]"),
        (axolotl({"path": "./rows"}), "./rows"),
        (axolotl({"path": "s3://bucket/rows.parquet"}), "s3://bucket/rows.parquet"),
        (axolotl({"path": "json", "data_files": ["a.jsonl", "b.jsonl"]}), ["a.jsonl", "b.jsonl"]),
        ({"base_model": "m", "pretraining_dataset": [{"path": "owner/texts", "type": "pretrain"}]},
         "hf:owner/texts#train"),
        (factory("hub"), "hf:owner/rows:en#test"),
        (factory("owner/rows", dataset_dir="ONLINE"), "hf:owner/rows#train"),
    ],
)  # fmt: skip
def test_sources_of_entries(config: dict[str, Any], expected: str | list[str]) -> None:
    assert made(config)[1].data.train == expected


def test_a_local_file_is_not_of_the_hub(here: Path) -> None:
    Path("rows").mkdir()
    assert made(axolotl({"path": "rows"}))[1].data.train == "rows"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (axolotl({"message_property_mappings": {"role": "who", "content": "said"}}),
         r"datasets\[0\]: messages have the keys 'who' and 'said'.*rewrite the messages"),
        (axolotl({"roles": {"user": ["customer"]}}), r"datasets\[0\]: roles.user: .*'customer'.*user, human"),
        (axolotl({"type": "input_output"}), r"datasets\[0\]: type: input_output is not translated; convert each row's"),
        (axolotl({"type": "jeopardy"}), "convert the rows: a column `messages`, or `prompt` and `completion`"),
        (axolotl({"path": ""}), r"datasets\[0\]: path: missing"),
        (axolotl({"path": "owner/rows", "data_files": "a.json"}), r"data_files: files of a data set of the hub"),
        ({"base_model": "m", "datasets": [{"path": "a", "type": "completion"}, {"path": "b", "type": "alpaca"}]},
         "one run has one task"),
        ({"base_model": "m", "datasets": [{"path": "a", "type": "sharegpt"}, {"path": "b", "type": "alpaca"}]},
         r"datasets\[1\] has the columns prompt: instruction, .* others have messages: conversations"),
        (axolotl(test_datasets=[{"path": "b", "type": "alpaca"}]), r"test_datasets\[0\] has the columns"),
        (axolotl(adapter="llama-adapter"), "adapter: 'llama-adapter' given; translated are lora and qlora"),
        (axolotl(rl="gdpo"), "rl: 'gdpo' is not supported; tasks are .*sft"),
        (axolotl(adapter="qlora", load_in_4bit=False), "load_in_4bit: false given, and qlora trains on quantized"),
        (axolotl(process_reward_model=True), "process_reward_model: there is no task"),
        (axolotl(learning_rate="abc"), "learning_rate: train.learning_rate here: 'abc' given; valid: a number"),
        (axolotl(micro_batch_size=0), "micro_batch_size: train.per_device_train_batch_size here: 0 given"),
        (axolotl(pretraining_dataset=[{"path": "b"}]), "pretraining_dataset: given beside datasets; keep one"),
        (axolotl(val_set_size=0.1, evals_per_epoch=2, num_epochs="x"), "num_epochs: .* 'x' given"),
        ({"base_model": "m"}, "datasets: missing; add data.train="),
        (factory("none"), "dataset none: dataset_info.json has no such name; it has identity"),
        (factory("keys"), "dataset keys: messages have the keys 'who' and 'said'"),
        (factory("authors"), "dataset authors: tags.user_tag: .*'customer'"),
        (factory("pairs"), r"dataset pairs: it has pairs of answers \(ranking\), and the task is sft"),
        (factory("pictures"), "dataset pictures: columns.images: only texts"),
        (factory("elsewhere"), "dataset elsewhere: ms_hub_url: cannot be read here; download the rows"),
        (factory("columns"), "dataset columns: columns.question: unknown; valid: prompt"),
        (factory("identity,named"), "dataset named has the columns"),
        (factory("turns", stage="pt"), "formatting: conversations are for sft and ppo"),
        (factory(dataset_dir="no"), "dataset_dir: there is no 'no/dataset_info.json', .* data.train=rows.jsonl"),
        (factory(stage="rl"), "stage: 'rl' is not supported; tasks are"),
        (factory(finetuning_type="freeze"), "freeze trains 2 layers; .*add methods.freeze.layers=N"),
        (factory(adapter_name_or_path="a,b"), "adapter_name_or_path: one adapter can be trained on"),
        ({"model_name_or_path": "m", "dataset_name": "d"}, "neither a config of axolotl .* nor of LLaMA-Factory"),
        ({"base_model": "m", **factory()}, r"keys of both axolotl \(base_model\) and LLaMA-Factory"),
        ({"model": "m", "data": "rows.csv"}, "it is a config of this program"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(config)


@pytest.mark.parametrize(
    ("config", "task", "columns"),
    [
        (axolotl({"type": "chatml.intel"}, rl="dpo"), "dpo", {"prompt": "question", "chosen": "chosen"}),
        (axolotl({"type": {"field_prompt": "q", "field_label": "good"}}, rl="kto"), "kto", {"label": "good"}),
        (axolotl({"type": "bradley_terry.chat_template"}, reward_model=True), "reward", {"prompt": "input"}),
        (axolotl({"type": "chat_template.default"}, rl="ipo"), "dpo", {"prompt": "messages"}),
        (factory("pairs", stage="dpo"), "dpo", {"prompt": "q", "chosen": "yes", "rejected": "no"}),
        (factory("pairs", stage="rm"), "reward", {"chosen": "yes"}),
        (factory("tagged", stage="kto"), "kto", {"prompt": "q", "completion": "a", "label": "good"}),
    ],
)
def test_preferences_are_translated(config: dict[str, Any], task: str, columns: dict[str, str]) -> None:
    _, ours, _ = made(config)
    assert ours.task == task and columns.items() <= ours.data.columns.model_dump().items()


def test_a_stage_without_its_task_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "objectives", lambda: {"sft": objectives()["sft"]})
    with pytest.raises(ConfigError, match=r"the task .dpo. of stage: dpo is not supported; tasks are sft$"):
        made(factory("pairs", stage="dpo"))


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (axolotl({"type": "chatml.intel"}, rl="orpo", orpo_alpha=0.2),
         {"preference.loss_type": "orpo", "preference.beta": 0.2}),
        (axolotl({"type": "chatml.intel"}, rl="simpo", rl_beta=2.0, simpo_gamma=1.0),
         {"preference.loss_type": "simpo", "preference.beta": 2.0, "preference.simpo_gamma": 1.0}),
        (axolotl({"type": {"field_prompt": "q", "field_label": "good"}}, rl="kto", kto_undesirable_weight=0.5),
         {"preference.undesirable_weight": 0.5}),
        (factory("pairs", stage="dpo", pref_loss="hinge", pref_beta=0.3),
         {"preference.loss_type": "hinge", "preference.beta": 0.3}),
        (factory("tagged", stage="kto", kto_chosen_weight=2.0), {"preference.desirable_weight": 2.0}),
        (axolotl(train_on_inputs=True), {"data.train_on": "all"}),
        (axolotl(excess_length_strategy="raise"), {"data.overlong": "error"}),
        (axolotl(chat_template="chatml"), {"model.chat_template": "chatml"}),
        (axolotl(chat_template="jinja", chat_template_jinja="turns.jinja"), {"model.chat_template": "turns.jinja"}),
        (axolotl(adapter="lora", bf16=True), {"model.dtype": "bfloat16", "train.bf16": True}),
        (axolotl(bf16=True), {"model.dtype": "auto", "train.bf16": True}),
        (axolotl(lora_model_dir="out", adapter="lora"), {"model.name": "out", "peft.method": "continue"}),
        (axolotl(cosine_min_lr_ratio=0.1), {"train.lr_scheduler_type": "cosine_with_min_lr"}),
        (axolotl(val_set_size=0.2, early_stopping_patience=3), {"eval.patience": 3, "eval.best": "loss"}),
        (axolotl(val_set_size=0.2, evals_per_epoch=1), {"train.eval_strategy": "epoch", "train.eval_steps": None}),
        (axolotl(val_set_size=0.2, eval_steps=9), {"train.eval_strategy": "steps", "train.eval_steps": 9}),
        (axolotl(val_set_size=20), {"data.split.validation": None}),
        (axolotl(sample_packing="yes", save_strategy="no"), {"data.packing": True, "train.save_strategy": "no"}),
        (axolotl(dataset_exact_deduplication=True), {"data.dedupe": "exact"}),
        (axolotl(group_by_length=True), {"train.train_sampling_strategy": "group_by_length"}),
        (axolotl(gradient_checkpointing="offload"), {"train.gradient_checkpointing": True}),
        (axolotl(adapter="qlora", bnb_config_kwargs={"bnb_4bit_quant_type": "fp4"}),
         {"quant.load_in_4bit": True, "quant.bnb_4bit_quant_type": "fp4"}),
        (axolotl(metric_for_best_model="eval_token_accuracy", load_best_model_at_end=True),
         {"eval.best": "token_accuracy"}),
        (factory(train_on_prompt=True), {"data.train_on": "all"}),
        (factory(mask_history=True), {"data.train_on": "last_turn"}),
        (factory("named"), {"data.train_on": "assistant"}),
        (factory(neat_packing=True, packing=True), {"data.packing": True}),
        (factory("texts", stage="pt", packing=False), {"data.merge": "none"}),
        (factory(quantization_bit=8), {"quant.load_in_8bit": True}),
        (factory(quantization_bit=4, double_quantization=False), {"quant.bnb_4bit_use_double_quant": False}),
        (factory(disable_gradient_checkpointing=True), {"train.gradient_checkpointing": False}),
        (factory(flash_attn="fa2"), {"model.attn_implementation": "flash_attention_2"}),
        (factory(lora_target="q_proj, v_proj"), {"peft.target_modules": ["q_proj", "v_proj"]}),
        (factory(finetuning_type="oft"), {"peft.method": "oft", "peft.target_modules": "all-linear"}),
        (factory(pissa_init=True), {"peft.init_lora_weights": "pissa"}),
        (factory(loraplus_lr_ratio=16), {"methods": {"loraplus": 16}}),
        (factory(adapter_name_or_path="out"), {"model.name": "out", "peft.method": "continue"}),
        (factory(eval_dataset="identity", max_samples=9), {"data.validation": "data/identity.json",
                                                           "eval.max_samples": 9, "data.max_train_samples": 9}),
        (factory(predict_with_generate=True, num_beams=2),
         {"train.predict_with_generate": True, "train.generation_max_length": 1024, "train.generation_num_beams": 2}),
        (factory(predict_with_generate=True, max_new_tokens=64), {"train.generation_max_length": 64}),
        (factory(max_grad_norm=0.5, neftune_noise_alpha=5), {"train.max_grad_norm": 0.5}),
    ],
)  # fmt: skip
def test_values_of_keys(config: dict[str, Any], values: dict[str, Any]) -> None:
    check_values(config, values)


def check_values(config: dict[str, Any], values: dict[str, Any]) -> None:
    """Check fields of what a peer's config becomes, by dotted name."""
    _, ours, _ = made(config)
    for path, value in values.items():
        found: Any = ours
        for name in path.split("."):
            found = getattr(found, name)
        assert found == value, path


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (axolotl(optimizer="muon"), "optimizer: muon (train.optim here: 'muon' given; valid: adamw_torch"),
        (axolotl(lr_scheduler="rex"), "lr_scheduler: rex (train.lr_scheduler_type here: 'rex' given"),
        (axolotl(optimiser="sgd"), "optimiser: sgd (it has no counterpart; did you mean optimizer?)"),
        (axolotl(fp8=True), "fp8: true (weights are quantized by bitsandbytes only"),
        (axolotl(roles_to_train=["user", "assistant"]), "roles_to_train: ['user', 'assistant'] (data.train_on: all"),
        (axolotl(chat_template="llama3"), "chat_template: llama3 (the model's own chat template is used"),
        (axolotl({"shards": 4}), "datasets[0].shards (set data.max_train_samples"),
        (axolotl({"message_field_training": "train"}), "datasets[0].message_field_training (data.train_on"),
        (axolotl({"type": {"field_instruction": "q", "format": "[INST] {instruction}"}}), "datasets[0].type.format ("),
        (axolotl(output_dir="${oc.env:OUT}"), "output_dir: ${oc.env:OUT} (a value that is filled in by its tool"),
        (axolotl(val_set_size=20), "val_set_size: 20 (a number of rows"),
        (factory(use_galore=True), "use_galore: true (set train.optim"),
        (factory(push_to_hub=True), "push_to_hub: true (nothing is pushed during a run"),
        (factory(mix_strategy="interleave_under"), "mix_strategy: interleave_under (it has no counterpart"),
    ],
)
def test_what_has_no_counterpart_is_listed_with_the_reason(config: dict[str, Any], line: str) -> None:
    written, _, notes = made(config)
    assert line in notes["not carried over"] and f"\n#   {line}" in written


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        (axolotl(), "system"),
        (axolotl({"type": "alpaca"}), "system, history, tools"),
        (axolotl({"type": "oasst"}), "input, system, history, tools"),
        (axolotl({"type": {"field_instruction": "q"}}), "history, tools"),
        (factory(), "system, history, tools"),
        (factory("named"), "input, system, tools"),
        (factory("turns"), "tools"),
    ],
)
def test_columns_that_only_we_find_by_name_are_told(config: dict[str, Any], columns: str) -> None:
    assert f": columns named {columns} are read too" in made(config)[2]["different here"]


def test_secrets_are_not_repeated() -> None:
    written, _, notes = made(axolotl(hub_token="hf_abcd", wandb_api_key="abcd", plugins={"key": "abcd"}))
    assert "abcd" not in written + str(notes) and "wandb_api_key (set train.report_to" in written


def test_answers_are_generated_only_for_tasks_with_answers() -> None:
    config = factory("texts", stage="pt", predict_with_generate=True, max_new_tokens=64)
    _, ours, notes = made(config)
    assert "predict_with_generate, max_new_tokens" in notes["nothing to set here"]
    assert not ours.train.model_extra


def test_options_without_effect_are_not_set() -> None:
    _, config, notes = made(axolotl(lora_r=8, rl_beta=0.2))
    assert config.peft.method == "none"
    assert notes["nothing to set here"] == "lora_r, rl_beta"


def test_the_command_line_comes_first() -> None:
    text, config, _ = made(factory("none", finetuning_type="freeze"), "data.train=mine.jsonl", "model=other",
                           "methods.freeze.layers=3", "train.learning_rate=1e-3")  # fmt: skip
    assert (config.data.train, config.model.name, config.methods) == ("mine.jsonl", "other", {"freeze": {"layers": 3}})
    assert config.train.learning_rate == 1e-3 and text.count("# as given") == 4
    _, config, _ = made(factory("texts"), "task=language-generation", "peft=none")
    assert (config.task, config.data.columns.text, config.peft.method) == ("language-generation", "text", "none")


def test_what_is_not_possible_on_this_machine_is_told() -> None:
    _, config, notes = made(factory(report_to="dvclive"))
    assert "train.report_to: dvclive needs its package" in notes["to settle before a run"]
    assert config.train.model_dump()["report_to"] == "dvclive"


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    Path("theirs.yml").write_text(LORA)
    assert main(["init", "--from", "theirs.yml", "train.num_train_epochs=2", "-o", "ours.yaml"]) == 0
    out, err = capsys.readouterr()
    assert not out and "note: not carried over: special_tokens" in err and "ours.yaml written" in err
    assert load("ours.yaml").config.train.num_train_epochs == 2
    assert (
        Path("ours.yaml").read_text().startswith("# Written by `finetune init --from theirs.yml`, a config of axolotl")
    )
    for words, message in (
        (["--from", "theirs.yml", "-o", "theirs.yml", "--force"], "is the config to translate"),
        (["--from", "theirs.yml", "rows.jsonl"], "add data.train=rows.jsonl"),
        (["--from", "none.yml"], "none.yml: no such file"),
        ([], "DATA: missing"),
    ):
        assert main(["init", *words]) == 2
        assert message in capsys.readouterr().err
    assert Path("theirs.yml").read_text() == LORA


@pytest.mark.parametrize("peer", ["axolotl", "LLaMA-Factory"])
def test_plan_accepts_what_is_written(peer: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, rows = make_chat(here / "chat"), make_task_rows(here / "data" / "rows.jsonl", "sft")
    Path("data/dataset_info.json").write_text(json.dumps({"rows": {"file_name": rows.name, **TURNS}}))
    theirs = {
        "axolotl": axolotl({"path": str(rows)}, base_model=str(model), adapter="lora", lora_target_linear=True,
                           val_set_size=0.2, micro_batch_size=4, num_epochs=2, bf16="auto", sequence_len=64),
        "LLaMA-Factory": factory("rows", model_name_or_path=str(model), val_size=0.2, num_train_epochs=2,
                                 per_device_train_batch_size=4, cutoff_len=64),
    }[peer]  # fmt: skip
    Path("theirs.yml").write_text(json.dumps(theirs))
    assert main(["init", "--from", "theirs.yml", "-o", "ours.yaml"]) == 0
    capsys.readouterr()
    assert main(["plan", "ours.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 24


TURNS = {
    "formatting": "sharegpt", "columns": {"messages": "messages"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}  # fmt: skip


def test_torch_is_not_imported(here: Path) -> None:
    import subprocess

    Path("theirs.yml").write_text(QLORA)
    code = "import sys; from flows.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "init", "--from", "theirs.yml"], capture_output=True, text=True,
                          cwd=here, env={"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert done.stdout.endswith("False\n"), done.stderr
