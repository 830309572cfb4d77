"""Models and data small enough that a whole run takes a second or two."""

import csv
import random
from pathlib import Path
from typing import Any

WORDS = [f"{start}{end}" for start in "bcdfgklmnprst" for end in ("al", "en", "ir", "os", "um")]
TOPICS = ("fruit", "metal", "river")


def make_bert(folder: Path, dropout: float = 0.1) -> Path:
    """A random BERT (2 layers, width 32) with a word-level tokenizer, saved as any base is."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TOPICS, *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}, model_max_length=64)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def make_rows(path: Path, rows: int = 96, seed: int = 0) -> Path:
    """A CSV of `text,label,source`: a text names its topic once among 3 to 20 other words."""
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "source"))
        for i in range(rows):
            topic = TOPICS[i % len(TOPICS)]
            words = draw.choices(WORDS, k=draw.randint(3, 20))
            words.insert(draw.randrange(len(words)), topic)
            writer.writerow((f"{' '.join(words)}", topic, f"s{i % 5}"))
    return path


def make_config(model: Path, data: Path, store: Path | str, **more: Any) -> dict[str, Any]:
    """A run of two epochs over `data`; `more` are dotted overrides with `.` written as `__`."""
    config: dict[str, Any] = {
        "model": {"name": str(model)},
        "data": {"train": str(data), "split": {"validation": 0.2, "test": 0.2}},
        "train": {
            "learning_rate": 2e-3, "num_train_epochs": 2, "per_device_train_batch_size": 8, "torch_num_threads": 1,
            "logging_steps": 2,
        },
        "store": {"root": str(store)},
    }  # fmt: skip
    for name, value in more.items():
        place = config
        *path, leaf = name.split("__")
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = value
    return config
