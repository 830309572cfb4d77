"""Prompts that a network makes in training: the network is saved to be trained on, its vectors to be used by peft."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from tasks.models.adapters import reattach
from tasks.models.bases.files import PROMPT_ENCODER
from tasks.training.save import save_weights
from tests.models.test_tuners import attached, fresh, given, logits, section
from tests.selection import slow_except

LSTM = {"encoder_reparameterization_type": "LSTM", "encoder_dropout": 0.5}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "MLP": ("p_tuning", {"encoder_hidden_size": 8}),
    "LSTM": ("p_tuning", LSTM),
    "prefix": ("prefix_tuning", {"prefix_projection": True}),
}
FAMILIES = {"bert": "SEQ_CLS", "llama": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM"}
CASES = [(name, family) for family in FAMILIES for name in ENCODERS]


@pytest.mark.parametrize(("name", "family"), slow_except([*CASES[:3], ("MLP", "t5")], CASES))
def test_trained_saved_and_loaded(name: str, family: str, tmp_path: Path) -> None:
    (method, options), task = ENCODERS[name], FAMILIES[family]
    model, _ = attached(family, task, section(method, **options))
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=0.5)
    for _ in range(2):
        model.train()(**given(task)).loss.backward()
        assert all(each.grad is not None for each in trained.values())
        optimizer.step()
        optimizer.zero_grad()
    before = torch.get_rng_state()
    save_weights(model, tmp_path)  # in training, as a checkpoint
    assert model.prompt_encoder.training and torch.equal(torch.get_rng_state(), before)
    again = reattach(fresh(family, task), tmp_path, trainable=True)
    assert {name: each.shape for name, each in again.named_parameters() if each.requires_grad} == {
        name: each.shape for name, each in trained.items()
    }
    assert all(torch.equal(each, trained[name]) for name, each in again.named_parameters() if name in trained)
    assert torch.equal(logits(again, task), logits(model, task))
    (tmp_path / PROMPT_ENCODER).unlink()
    plain = PeftModel.from_pretrained(fresh(family, task), tmp_path)  # as the model card says
    torch.testing.assert_close(logits(plain, task), logits(model, task), atol=1e-6, rtol=1e-5)
    vectors = load_file(tmp_path / "adapter_model.safetensors")["prompt_embeddings"]
    assert not torch.equal(vectors, trained["prompt_encoder.default.embedding.weight"])
