"""One body under several heads."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    ElectraConfig,
)

from tasks.config import ConfigError, Lora
from tasks.models.adapters import attach
from tasks.models.bodies import body_of, doing
from tests.tiny import make_bert

KINDS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForMaskedLM]
IDS = torch.tensor([[2, 7, 8, 9, 3]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapted", [False, True])
def test_the_other_model_computes_with_the_trained_body(kind: type, adapted: bool, tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "bert")
    other = kind.from_pretrained(folder, **({"num_labels": 4} if kind is not AutoModelForMaskedLM else {})).eval()
    live = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    if adapted:
        live = attach(live, Lora(r=2), "SEQ_CLS", ["classifier"])
    with torch.no_grad():
        for each in live.parameters():
            each.add_(0.1)
        expected = live.base_model.model if adapted else live
        states = expected.bert.encoder(expected.bert.embeddings(IDS)).last_hidden_state
        found = doing(other, live)
        assert found is other
        assert torch.equal(body_of(other)(IDS).last_hidden_state, states)
        assert other(IDS).logits.shape[-1] == (other.config.vocab_size if kind is AutoModelForMaskedLM else 4)
    if kind is AutoModelForMaskedLM:  # its head shares the embeddings, now the trained ones
        assert other.get_output_embeddings().weight is expected.bert.embeddings.word_embeddings.weight


def test_a_head_for_the_same_classes_is_the_trained_one(tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "bert")
    one, two = (AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3) for _ in range(2))
    assert doing(one, two) is two
    two.config.id2label = {0: "a", 1: "b", 2: "c"}
    assert doing(one, two) is one


def test_other_bodies_are_refused(tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "bert")
    live = AutoModelForSequenceClassification.from_pretrained(folder)
    config = BertConfig.from_pretrained(folder)
    config.vocab_size += 1
    with pytest.raises(ConfigError, match="word_embeddings"):
        doing(AutoModelForTokenClassification.from_config(config), live)
    with pytest.raises(ConfigError, match="it is a ElectraModel, and the trained model is a BertModel"):
        doing(AutoModelForTokenClassification.from_config(ElectraConfig(hidden_size=16)), live)
