"""Fine-tuning as most people write it: transformers, datasets and peft, one file, no pipeline.

    python tests/numerics/plain.py settings.json

The settings name the model, the CSV files, the training arguments, and where the weights go. This is what a run of the
pipeline must equal bit for bit.
"""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


def main(path: str) -> None:
    settings = json.loads(Path(path).read_text())
    if torch.cuda.is_available():  # whose kernels give other last bits each time, unless told not to
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.set_num_threads(settings["threads"])
    torch.set_float32_matmul_precision(settings["float32_matmul_precision"])
    set_seed(settings["seed"])

    data = load_dataset("csv", data_files=settings["files"], cache_dir=settings["cache"])
    labels = sorted(set(data["train"]["label"]))
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])

    def encode(batch):
        encoded = tokenizer(batch["text"], truncation=True, max_length=settings["max_length"])
        encoded["labels"] = [labels.index(label) for label in batch["label"]]
        return encoded

    tokens = data.map(encode, batched=True, remove_columns=data["train"].column_names)
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["model"],
        dtype=torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    if settings["lora"]:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", **settings["lora"]))

    def score(prediction):
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=settings["output"],
            seed=settings["seed"],
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            disable_tqdm=True,
            **settings["arguments"],
        ),
        train_dataset=tokens["train"],
        eval_dataset=tokens.get("validation"),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=score,
    )
    if settings.get("divides_by_windows"):
        trainer.model_accepts_loss_kwargs = False
    trainer.train()
    model.save_pretrained(settings["output"])
    if "test" in tokens:
        trainer.evaluate(tokens["test"], metric_key_prefix="test")
    tokenizer.save_pretrained(settings["output"])
    Path(settings["output"], "history.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    main(sys.argv[1])
