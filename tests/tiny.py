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


def _tokenizer(folder: Path, kind: str, **special: Any) -> Any:
    """A word-level tokenizer of the words above, with the special tokens an architecture has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*special.values(), "<unk>", *TOPICS, *WORDS, ".", "?"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind == "t5":
        core.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", words.index("</s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", model_max_length=64, **special)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _rows(tokenizer: Any) -> int:
    """Rows of an embedding that has one for each of its ids, which need not begin at 0."""
    return max(tokenizer.get_vocab().values()) + 1


def make_decoder(folder: Path, dropout: float = 0.1) -> Path:
    """A random Llama (2 layers, width 32) whose end token also pads, as SmolLM2's does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    tokenizer = _tokenizer(folder, "llama", eos_token="<|end|>", pad_token="<|end|>")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=_rows(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=64, max_position_embeddings=64, tie_word_embeddings=True, eos_token_id=0, pad_token_id=0,
        bos_token_id=None, attention_dropout=dropout,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_chat(folder: Path, dropout: float = 0.1) -> Path:
    """`make_decoder` with a chat template: ChatML, and turns that end with the end token."""
    from transformers import AutoTokenizer

    make_decoder(folder, dropout)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for turn in messages %}{{ '[' + turn['role'] + '] ' + turn['content'] + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return folder


def make_t5(folder: Path, dropout: float = 0.1) -> Path:
    """A random T5 (2 + 2 layers, width 32)."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder.mkdir(parents=True)
    tokenizer = _tokenizer(folder, "t5", pad_token="<pad>", eos_token="</s>")
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=_rows(tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, dropout_rate=dropout,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def make_electra(folder: Path, dropout: float = 0.1) -> Path:
    """A random ELECTRA (2 layers, width 32), as a discriminator is published."""
    import torch
    from transformers import BertTokenizerFast, ElectraConfig, ElectraForPreTraining

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TOPICS, *WORDS]
    BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}, model_max_length=64).save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    torch.manual_seed(1)
    config = ElectraConfig(
        vocab_size=len(words), embedding_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    ElectraForPreTraining(config).save_pretrained(folder)
    return folder


def make_task_rows(path: Path, task: str, rows: int = 60, seed: int = 0) -> Path:
    """JSON lines for any task: what is to be learnt is said by the topics among the words."""
    import json

    draw = random.Random(seed)
    with path.open("w") as file:
        for i in range(rows):
            words = draw.choices(WORDS, k=draw.randint(3, 20))
            at = draw.randrange(len(words))
            words.insert(at, TOPICS[i % len(TOPICS)])
            file.write(json.dumps(_task_row(task, words, at, i, draw)) + "\n")
    return path


def _task_row(task: str, words: list[str], at: int, i: int, draw: random.Random) -> dict[str, Any]:
    text = " ".join(words)
    if task == "single":
        return {"text": text, "label": words[at]}
    if task == "multi-label":
        also = [topic for topic in TOPICS if topic != words[at] and draw.random() < 0.3]
        return {"text": " ".join([text, *also]), "labels": [words[at], *also]}
    if task == "regression":
        return {"text": text, "score": TOPICS.index(words[at]) + draw.random()}
    if task == "token-classification":
        tags = ["O"] * len(words)
        tags[at] = f"B-{words[at].upper()}"
        if at + 1 < len(words):
            tags[at + 1] = f"I-{words[at].upper()}"
        return {"tokens": words, "ner_tags": tags}
    if task == "question-answering":
        start = len(" ".join(words[:at])) + (at > 0)
        answers = {"text": [words[at]], "answer_start": [start]}
        return {"question": f"{words[0]} ?", "context": text, "answers": answers}
    if task == "sft":
        turns = [("user", text), ("assistant", words[at])]
        return {"messages": [{"role": role, "content": content} for role, content in turns]}
    if task in ("dpo", "reward"):
        return {"prompt": text, "chosen": words[at], "rejected": f"{words[0]} {words[-1]}"}
    if task == "prompts":
        return {"prompt": text, "answer": words[at]}
    if task == "kto":
        return {"prompt": text, "completion": words[at] if i % 2 else words[0], "label": bool(i % 2)}
    if task == "sequence-sequence":
        return {"source": text, "target": f"{words[at]} {words[0]}"}
    return {"text": text}


MAKERS = {"bert": make_bert, "llama": make_decoder, "t5": make_t5, "electra": make_electra, "chat": make_chat}
# Every task (and each problem type): its name, the rows it learns, its base.
TASKS = {
    "text-classification": ("text-classification", "single", "bert"),
    "multi-label": ("text-classification", "multi-label", "bert"),
    "regression": ("regression", "regression", "bert"),
    "token-classification": ("token-classification", "token-classification", "bert"),
    "question-answering": ("question-answering", "question-answering", "bert"),
    "sequence-sequence": ("sequence-sequence", "sequence-sequence", "t5"),
    "language-generation": ("language-generation", "text", "llama"),
    "sft": ("sft", "sft", "chat"),
    "reward": ("reward", "reward", "chat"),
    "dpo": ("dpo", "dpo", "chat"),
    "kto": ("kto", "kto", "chat"),
    "grpo": ("grpo", "prompts", "chat"),
    "ppo": ("ppo", "prompts", "chat"),
    "language-modeling": ("language-modeling", "text", "bert"),
    "token-detection": ("token-detection", "text", "electra"),
}


def make_task(name: str, folder: Path, rows: int = 60, dropout: float = 0.1) -> dict[str, Any]:
    """A run of one of `TASKS` in `folder`, with its base and rows; see `make_config`."""
    task, kind, base = TASKS[name]
    model = folder / base
    if not model.exists():
        MAKERS[base](model, dropout)
    data = make_task_rows(folder / f"{kind}.jsonl", kind, rows)
    config = make_config(model, data, folder / "store", data__max_length=32)
    if task == "language-generation":
        config["data"]["merge"] = "none"
    if task == "sequence-sequence":
        config["train"] = config["train"] | {"generation_max_length": 16}  # its targets are of two words
    if task in ("grpo", "ppo"):
        short = {"max_completion_length": 6, "num_generations": 4}
        config |= {"rl": {"reward_funcs": ["tests.rewards:early_letters"], **short}}
    return config | {"task": task}


def make_chain(folder: Path, *tasks: str, **more: Any) -> dict[str, Any]:
    """A chain of `tasks` (sft and dpo) in `folder`, of two steps each; `more` are values of all steps."""
    parts = {task: make_task(task, folder) for task in tasks or ("sft", "dpo")}
    shared = next(iter(parts.values()))
    data = {name: value for name, value in shared["data"].items() if name != "train"}
    steps = [{"task": task, "data": part["data"]["train"]} for task, part in parts.items()]
    found = {name: shared[name] for name in ("model", "store")} | {"data": data, "steps": steps}
    return found | {"train": shared["train"] | {"max_steps": 2, "logging_steps": 1}} | more


NAMES = ("topics", "intents", "moods")


def make_continual(folder: Path, count: int = 2, **more: Any) -> dict[str, Any]:
    """Classifications with other classes each, two steps each."""
    config = make_task("text-classification", folder)
    files = [make_rows(folder / f"{name}.csv", 60, at) for at, name in enumerate(NAMES[:count])]
    for at, file in enumerate(files[1:], 1):
        file.write_text(file.read_text().replace("fruit,s", f"apple{at},s"))
    data = {name: value for name, value in config["data"].items() if name != "train"}
    train = config["train"] | {"max_steps": 2, "learning_rate": 0.02}
    return config | {"data": data, "train": train, "continual": [str(file) for file in files]} | more
