"""Which layer each parameter belongs to, for the architectures there are."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from tasks.config.errors import ConfigError
from tasks.models.layers import depths

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
         "vocab_size": 30}  # fmt: skip
BERT = BertConfig(**SMALL)
MODELS = {
    "bert": (BertForSequenceClassification, BERT,
             {"bert.embeddings.LayerNorm.weight": 0, "bert.encoder.layer.0.output.dense.bias": 1,
              "bert.encoder.layer.2.output.dense.bias": 3, "bert.pooler.dense.weight": 3, "classifier.weight": 4}),
    "distilbert": (DistilBertForSequenceClassification, DistilBertConfig(dim=16, n_layers=3, n_heads=2, hidden_dim=16,
                                                                         vocab_size=30),
                   {"distilbert.embeddings.word_embeddings.weight": 0,
                    "distilbert.transformer.layer.1.ffn.lin1.bias": 2,
                    "pre_classifier.weight": 4, "classifier.bias": 4}),
    "deberta": (DebertaV2ForTokenClassification, DebertaV2Config(**SMALL, relative_attention=True),
                {"deberta.embeddings.word_embeddings.weight": 0, "deberta.encoder.rel_embeddings.weight": 0,
                 "deberta.encoder.layer.2.output.dense.bias": 3, "classifier.weight": 4}),
    "modernbert": (ModernBertForSequenceClassification, ModernBertConfig(**SMALL, pad_token_id=0),
                   {"model.embeddings.tok_embeddings.weight": 0, "model.layers.0.mlp.Wi.weight": 1,
                    "model.final_norm.weight": 3, "head.dense.weight": 4, "classifier.weight": 4}),
    "gpt2": (GPT2LMHeadModel, GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=30),
             {"transformer.wte.weight": 0, "transformer.wpe.weight": 0, "transformer.h.1.attn.c_attn.weight": 2,
              "transformer.ln_f.weight": 3, "lm_head.weight": 0}),
    "llama": (LlamaForCausalLM, LlamaConfig(**SMALL, tie_word_embeddings=False),
              {"model.embed_tokens.weight": 0, "model.layers.2.mlp.up_proj.weight": 3, "model.norm.weight": 3,
               "lm_head.weight": 4}),
    "t5": (T5ForConditionalGeneration, T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=3, num_decoder_layers=2,
                                                num_heads=2, vocab_size=30),
           {"shared.weight": 0, "encoder.block.0.layer.0.SelfAttention.q.weight": 1,
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 1,
            "decoder.block.0.layer.0.SelfAttention.q.weight": 2, "decoder.block.1.layer.0.SelfAttention.q.weight": 3,
            "encoder.final_layer_norm.weight": 3, "decoder.final_layer_norm.weight": 3}),
    "bart": (BartForConditionalGeneration, BartConfig(d_model=16, encoder_layers=3, decoder_layers=3, vocab_size=30,
                                                      encoder_attention_heads=2, decoder_attention_heads=2,
                                                      encoder_ffn_dim=16, decoder_ffn_dim=16),
             {"model.shared.weight": 0, "model.encoder.layers.1.fc1.weight": 2, "model.decoder.layers.1.fc1.weight": 2,
              "model.encoder.layernorm_embedding.weight": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_depths(name: str) -> None:
    make, config, expected = MODELS[name]
    found, layers = depths(make(config))
    assert layers == 3
    assert {parameter: found[parameter] for parameter in expected} == expected
    assert set(found.values()) <= set(range(5))


def test_an_adapter_belongs_to_its_layer() -> None:
    model = BertForSequenceClassification(BERT)
    adapted = get_peft_model(model, LoraConfig(target_modules=["query"], modules_to_save=["classifier"]))
    found, layers = depths(adapted)
    trained = {name: found[name] for name, each in adapted.named_parameters() if each.requires_grad}
    assert layers == 3
    assert {depth for name, depth in trained.items() if "lora_" in name} == {1, 2, 3}
    assert {depth for name, depth in trained.items() if "classifier" in name} == {4}


def test_layers_that_share_their_weights_cannot_be_told_apart() -> None:
    config = AlbertConfig(**SMALL, embedding_size=16)
    with pytest.raises(ConfigError, match="layers of AlbertForSequenceClassification are unknown"):
        depths(AlbertForSequenceClassification(config))


def test_layer_wise_rates(bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.training.trainer import FinetuneTrainer
    from tests.flow.scenes import executed
    from tests.tiny import make_config

    seen: list[dict[str, float]] = []
    make = FinetuneTrainer.create_optimizer

    def noted(self: FinetuneTrainer, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = make(self, model)
        names = {id(each): name for name, each in self.model.named_parameters()}
        seen.append({names[id(each)]: group["lr"] for group in optimizer.param_groups for each in group["params"]})
        return optimizer

    monkeypatch.setattr(FinetuneTrainer, "create_optimizer", noted)
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=2, train__eval_strategy="no",
                         methods={"layerwise_lr_decay": 0.5})  # fmt: skip
    done = executed(config)
    (rates,) = seen
    assert rates["bert.embeddings.word_embeddings.weight"] == pytest.approx(2e-3 * 0.25)
    assert rates["bert.encoder.layer.0.output.dense.weight"] == pytest.approx(2e-3 * 0.5)
    assert rates["bert.encoder.layer.1.output.LayerNorm.bias"] == pytest.approx(2e-3)
    assert rates["bert.pooler.dense.weight"] == pytest.approx(2e-3)
    assert rates["classifier.weight"] == pytest.approx(4e-3)
    assert done.arguments["methods"] == {"layerwise_lr_decay": {"decay": 0.5, "head_multiplier": 2.0}}
