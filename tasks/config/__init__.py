"""The config of a run: one definition for the YAML file, the command line, the Prefect form and the JSON Schema.

    loaded = load("quickstart.yaml", ["train.learning_rate=1e-4"])
    loaded.config.train.learning_rate, loaded.origin["train.learning_rate"]     # 0.0001, "command line"

Nothing here imports torch, transformers or prefect, so that a config is loaded and validated in milliseconds.
"""

from tasks.config.errors import ConfigError, DataError, FinetuneError, Interrupted, MachineError, TrainingError
from tasks.config.reading.chain import ChainStep, LoadedChain, load_chain
from tasks.config.reading.either import load_either
from tasks.config.reading.layers import Layer, fill
from tasks.config.reading.load import Loaded, LoadedSweep, load, load_sweep
from tasks.config.resolved import to_yaml, with_effective_limits
from tasks.config.schema import json_schema
from tasks.config.sections.checkpoint import CheckpointConfig
from tasks.config.sections.columns import ColumnsConfig
from tasks.config.sections.continual import ContinualConfig
from tasks.config.sections.data import DataConfig, SplitConfig
from tasks.config.sections.eval import EvalConfig, ForgettingConfig
from tasks.config.sections.export import ExportConfig
from tasks.config.sections.guard import GuardConfig
from tasks.config.sections.methods import MethodsConfig
from tasks.config.sections.model import ModelConfig
from tasks.config.sections.peft import Adapter, ContinuePeft, Lora, NoPeft, OtherTuner, PeftConfig
from tasks.config.sections.preference import PreferenceConfig
from tasks.config.sections.quant import QuantConfig
from tasks.config.sections.rl import RlConfig
from tasks.config.sections.run import Preset, RunConfig
from tasks.config.sections.secrets import Secrets
from tasks.config.sections.section import Seed, Text
from tasks.config.sections.store import StoreConfig
from tasks.config.sections.sweep import SweepConfig
from tasks.config.sections.train import TrainConfig
from tasks.config.watching import computing, watching

__all__ = [
    "RunConfig",
    "MethodsConfig",
    "ModelConfig",
    "DataConfig",
    "ColumnsConfig",
    "SplitConfig",
    "PeftConfig",
    "NoPeft",
    "Adapter",
    "ContinuePeft",
    "Lora",
    "OtherTuner",
    "PreferenceConfig",
    "QuantConfig",
    "RlConfig",
    "Text",
    "TrainConfig",
    "EvalConfig",
    "ForgettingConfig",
    "GuardConfig",
    "CheckpointConfig",
    "ContinualConfig",
    "ExportConfig",
    "StoreConfig",
    "Secrets",
    "Preset",
    "Seed",
    "with_effective_limits",
    "computing",
    "watching",
    "load",
    "load_sweep",
    "load_chain",
    "load_either",
    "Loaded",
    "LoadedSweep",
    "LoadedChain",
    "ChainStep",
    "SweepConfig",
    "fill",
    "Layer",
    "to_yaml",
    "json_schema",
    "FinetuneError",
    "ConfigError",
    "DataError",
    "TrainingError",
    "MachineError",
    "Interrupted",
]
