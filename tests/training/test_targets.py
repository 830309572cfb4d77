"""Names of layers that an adapter is asked for and the model does not have."""

import pytest
from transformers import BertConfig, BertForSequenceClassification

from tasks.config import ConfigError, Lora
from tasks.models.adapters import attach


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["query", "valu"], r"'valu' is no layer of Bert.*; valid are .*query, key, value.*did you mean 'value'"),
        (["q_proj"], r"'q_proj' is no layer .*valid are word_embeddings, .*query, key, value, dense.*, or all-linear"),
        ("q_proj|v_proj", "is no layer"),
    ],
)
def test_unknown_layers_are_refused_with_the_valid_names(targets: str | list[str], says: str) -> None:
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(ConfigError, match=says):
        attach(BertForSequenceClassification(config), Lora(target_modules=targets), "SEQ_CLS", ["classifier"])
    adapted = attach(
        BertForSequenceClassification(config), Lora(target_modules=["query", "attention.output.dense"]), "SEQ_CLS", []
    )
    assert any("query.lora_A" in name for name, _ in adapted.named_parameters())
