"""A whole run: task, seed, output folder, and one section for each thing that can be chosen."""

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
from tasks.config.sections.quant import QuantConfig
from tasks.config.sections.secrets import Secrets
from tasks.config.sections.section import Folder, Section, Seed, Text
from tasks.config.sections.store import StoreConfig
from tasks.config.sections.train import TrainConfig

TASK = (
    "What the model learns to do: text-classification, regression, token-classification, question-answering, "
    "sequence-sequence, language-generation, language-modeling or token-detection."
)
Preset = Annotated[
    Literal["recommended", "txtai"],
    BeforeValidator(lambda value: "recommended" if value == "field" else value),  # its name until 0.1
]


class RunConfig(Section):
    """Everything a run may say: the YAML file, the command line, the Prefect form and the JSON Schema."""

    task: Text = Field(default="text-classification", description=TASK)
    name: Text | None = Field(default=None, description="Name of the run. Omit: one is made.")
    seed: Seed = Field(default=42, description="Seed of everything random, except the split (data.split.seed).")
    output_dir: Folder | None = Field(
        default=None, min_length=1, description="Folder for the trained model. Omit: it stays in the store."
    )
    preset: Preset = Field(
        default="recommended",
        description="Whose defaults: recommended (what works in practice) or txtai (as its trainer has them).",
    )
    methods: MethodsConfig = Field(
        default_factory=dict,
        description="Training methods besides plain fine-tuning, each with its options: {layerwise_lr_decay: 0.95}.",
    )
    model: ModelConfig = Field(description="The base model.")
    data: DataConfig = Field(description="The data.")
    peft: PeftConfig = Field(default_factory=NoPeft, description="Train the whole model, or adapters only.")
    quant: QuantConfig = Field(default_factory=QuantConfig, description="Quantization of the base weights.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="Training, in transformers' own names.")
    eval: EvalConfig = Field(default_factory=EvalConfig, description="Evaluation.")
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig, description="Checkpoints while training.")
    export: ExportConfig = Field(default_factory=ExportConfig, description="What is saved at the end.")
    store: StoreConfig = Field(default_factory=StoreConfig, description="Where stage results live.")
    secrets: Secrets = Field(
        default_factory=dict,
        description="Environment variables for this run, each from the Prefect Secret block named here, e.g. "
        "{AWS_SECRET_ACCESS_KEY: my-s3-key}. Names, never the secrets themselves.",
    )


# The short form of each section, for readers that must look inside one before it is validated.
EXPAND: Mapping[str, Callable[[Any], Any]] = {
    "model": ModelConfig.expand,
    "data": DataConfig.expand,
    "peft": PeftSection.expand,
    "quant": QuantConfig.expand,
    "train": TrainConfig.expand,
    "eval": EvalConfig.expand,
    "checkpoint": CheckpointConfig.expand,
    "export": ExportConfig.expand,
    "store": StoreConfig.expand,
}
