"""The config of a run: task, seed, output folder, and the sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.config.sections.checkpoint import CheckpointConfig
from tasks.config.sections.data import DataConfig
from tasks.config.sections.eval import EvalConfig
from tasks.config.sections.export import ExportConfig
from tasks.config.sections.methods import MethodsConfig
from tasks.config.sections.model import ModelConfig
from tasks.config.sections.peft import NoPeft, PeftConfig, PeftSection
from tasks.config.sections.preference import PreferenceConfig
from tasks.config.sections.quant import QuantConfig
from tasks.config.sections.rl import RlConfig
from tasks.config.sections.secrets import Secrets
from tasks.config.sections.section import Folder, Section, Seed, Text
from tasks.config.sections.store import StoreConfig
from tasks.config.sections.train import TrainConfig

TASK = (
    "What the model learns to do: text-classification, regression, token-classification, question-answering, "
    "sequence-sequence, language-generation, sft, reward, dpo, kto, grpo, ppo, language-modeling or token-detection. "
    "Of a list, choose translation for translation_en_to_de and the like."
)
Preset = Annotated[
    Literal["recommended", "txtai"],
    BeforeValidator(lambda value: "recommended" if value == "field" else value),  # the former name, until 0.1
]


class RunConfig(Section):
    """The whole config: of the YAML file, the command line, the Prefect form and the JSON Schema."""

    task: Text = Field(default="text-classification", description=TASK)
    name: Text | None = Field(default=None, description="Name of the run. Omit: one is generated.")
    seed: Seed = Field(default=42, description="Seed of everything random, except the split (data.split.seed).")
    output_dir: Folder | None = Field(
        default=None, min_length=1, description="Folder for the trained model. Omit: it stays in the store."
    )
    preset: Preset = Field(
        default="recommended",
        description="Set of defaults: recommended (good practice) or txtai (those of its trainer).",
    )
    methods: MethodsConfig = Field(
        default_factory=dict,
        description="Training methods besides plain fine-tuning, each with its options: {layerwise_lr_decay: 0.95}.",
    )
    model: ModelConfig = Field(description="The base model.")
    data: DataConfig = Field(description="The data.")
    peft: PeftConfig = Field(default_factory=NoPeft, description="Train the whole model, or adapters only.")
    quant: QuantConfig = Field(default_factory=QuantConfig, description="Quantization of the base weights.")
    train: TrainConfig = Field(
        default_factory=TrainConfig, description="Training, with the names of transformers' TrainingArguments."
    )
    preference: PreferenceConfig = Field(
        default_factory=PreferenceConfig, description="Learning from preferences (reward, dpo, kto)."
    )
    rl: RlConfig = Field(
        default_factory=RlConfig, description="Learning from rewards of the model's own answers (grpo, ppo)."
    )
    eval: EvalConfig = Field(default_factory=EvalConfig, description="Evaluation.")
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig, description="Checkpoints during training.")
    export: ExportConfig = Field(default_factory=ExportConfig, description="What is saved at the end.")
    store: StoreConfig = Field(default_factory=StoreConfig, description="Where results of stages are stored.")
    secrets: Secrets = Field(
        default_factory=dict,
        description="Environment variables for this run, each from the Prefect Secret block named here, e.g. "
        "{AWS_SECRET_ACCESS_KEY: my-s3-key}. Names, never the secrets themselves.",
    )


# Expands each section's short form, for code that needs the fields before validation.
EXPAND: Mapping[str, Callable[[Any], Any]] = {
    "model": ModelConfig.expand,
    "data": DataConfig.expand,
    "peft": PeftSection.expand,
    "quant": QuantConfig.expand,
    "train": TrainConfig.expand,
    "preference": PreferenceConfig.expand,
    "rl": RlConfig.expand,
    "eval": EvalConfig.expand,
    "checkpoint": CheckpointConfig.expand,
    "export": ExportConfig.expand,
    "store": StoreConfig.expand,
}
