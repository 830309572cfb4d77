"""4 batches of 4 rows, accumulated, are 1 batch of 16: in logged loss, gradient norm and weights.

transformers 5.23 takes any `**kwargs` in a forward as "this loss is already divided" and trains on four times the
loss: `test_the_library_needs_the_mend` fails when a later version no longer does, and the mend can go. The optimizer
is SGD: Adam divides by the gradient's own size, which blows rounding up where that is next to nothing.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.flow.scenes import executed
from tests.numerics.test_same_weights import COMMON
from tests.tiny import make_bert, make_config, make_rows

pytestmark = pytest.mark.slow
SHAPES = {"1 × 16": (16, 1), "4 × 4": (4, 4)}


@pytest.fixture(scope="module")
def still_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout: its masks would differ between the two shapes."""
    return make_bert(tmp_path_factory.mktemp("models") / "still", dropout=0.0)


@pytest.fixture(scope="module")
def runs(still_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("accumulation")
    data = make_rows(folder / "train.csv", 80)
    done = {}
    for shape, (batch, windows) in SHAPES.items():
        config = make_config(still_bert, data, folder / "store", data__split={"validation": 0.0})
        config["train"] = COMMON | {
            "per_device_train_batch_size": batch, "gradient_accumulation_steps": windows, "logging_steps": 1,
            "max_grad_norm": 0.1, "optim": "sgd", "learning_rate": 0.5,
            "torch_num_threads": 1, "float32_matmul_precision": "highest", "max_steps": 6,
        }  # fmt: skip
        done[shape] = executed(config)
    return done


def test_losses_and_gradient_norms_are_equal(runs: dict[str, Any]) -> None:
    one, four = (
        [(entry["loss"], entry["grad_norm"]) for entry in runs[shape].history if "loss" in entry] for shape in SHAPES
    )
    assert len(one) == len(four) == 6
    for (loss, norm), (loss4, norm4) in zip(one, four, strict=True):
        assert loss4 == pytest.approx(loss, rel=1e-5)
        assert norm4 == pytest.approx(norm, rel=1e-4)


def test_weights_are_equal(runs: dict[str, Any]) -> None:
    one, four = (load_file(runs[shape]._open("s09_train").path("model.safetensors")) for shape in SHAPES)
    for name, tensor in one.items():
        assert torch.allclose(four[name], tensor, rtol=1e-5, atol=1e-6), name


def test_the_library_needs_the_mend(still_bert: Path) -> None:
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

    model = AutoModelForSequenceClassification.from_pretrained(still_bert)
    trainer = Trainer(model=model, args=TrainingArguments(output_dir="unused", use_cpu=True, report_to="none"))
    assert trainer.model_accepts_loss_kwargs, "transformers mended it: FinetuneTrainer's mend can go"
