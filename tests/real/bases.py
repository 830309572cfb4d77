"""Small bases without weights of their own, for tasks to which no packaged model is a base."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq


def texts(folder: Path, name: str, columns: Sequence[str]) -> Iterator[str]:
    """The texts of a real set's training rows."""
    table = pq.read_table(folder / name / "train.parquet")
    for column in columns:
        yield from table[column].to_pylist()


def make_t5(data: Path, out: Path) -> Path:
    """A T5 (3 + 3 layers, width 256) with a byte-level vocabulary of 8,000 pieces of Multi30k."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=["<pad>", "</s>"], show_progress=False)
    core.train_from_iterator(texts(data, "multi30k_en_de", ("source", "target")), trainer)
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", model_max_length=128
    )
    tokenizer.save_pretrained(out)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=256, d_kv=64, d_ff=512, num_layers=3, num_heads=4, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(out)
    return out


def make_llama(data: Path, out: Path) -> Path:
    """A Llama (4 layers, width 192) with a byte-level vocabulary of 2,000 pieces of Shakespeare."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=["<|end|>"], show_progress=False)
    core.train_from_iterator(texts(data, "tinyshakespeare", ("text",)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|end|>", eos_token="<|end|>", model_max_length=128
    )
    tokenizer.save_pretrained(out)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=192, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=6,
        intermediate_size=512, max_position_embeddings=128, tie_word_embeddings=True, eos_token_id=0, pad_token_id=0,
        bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(out)
    return out
