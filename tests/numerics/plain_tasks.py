"""Every task as most people write it: transformers and datasets, one function a task, no pipeline.

    python tests/numerics/plain_tasks.py settings.json

The settings name the task, the model, the rows, the training arguments, and where the weights go. What is masked at
random in masked language models is drawn here as `tasks.data.tokens.masking` says it is, by code of its own.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from datasets import load_dataset
from safetensors.torch import save_file

LENGTH = 32
DATA = {}


def labels_of(column):
    return sorted({label for row in column for label in (row if isinstance(row, list) else [row])})


def head(labels):
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {n: i for i, n in enumerate(labels)},
    }


def classification(rows, tokenizer, base):
    labels = labels_of(rows["label"])

    def encode(row):
        return tokenizer(row["text"], truncation=True, max_length=LENGTH) | {"labels": labels.index(row["label"])}

    model = hf.AutoModelForSequenceClassification.from_pretrained(base, **head(labels))
    return model, rows.map(encode, remove_columns=rows.column_names), hf.DataCollatorWithPadding(tokenizer)


def multi_label(rows, tokenizer, base):
    labels = labels_of(rows["labels"])

    def encode(row):
        found = tokenizer(row["text"], truncation=True, max_length=LENGTH)
        return found | {"labels": [float(name in row["labels"]) for name in labels]}

    model = hf.AutoModelForSequenceClassification.from_pretrained(
        base, problem_type="multi_label_classification", **head(labels)
    )
    return model, rows.map(encode, remove_columns=rows.column_names), hf.DataCollatorWithPadding(tokenizer)


def regression(rows, tokenizer, base):
    def encode(row):
        return tokenizer(row["text"], truncation=True, max_length=LENGTH) | {"labels": row["score"]}

    model = hf.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, problem_type="regression")
    return model, rows.map(encode, remove_columns=rows.column_names), hf.DataCollatorWithPadding(tokenizer)


def tagging(rows, tokenizer, base):
    labels = labels_of(rows["ner_tags"])

    def encode(row):
        found = tokenizer(row["tokens"], truncation=True, max_length=LENGTH, is_split_into_words=True)
        before, marks = None, []
        for word in found.word_ids():
            marks.append(-100 if word is None or word == before else labels.index(row["ner_tags"][word]))
            before = word
        return found | {"labels": marks}

    model = hf.AutoModelForTokenClassification.from_pretrained(base, **head(labels))
    return model, rows.map(encode, remove_columns=rows.column_names), hf.DataCollatorForTokenClassification(tokenizer)


def questions(rows, tokenizer, base):
    def encode(batch):
        found = tokenizer(
            batch["question"], batch["context"], truncation="only_second", max_length=LENGTH, stride=DATA["stride"],
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        starts, ends = [], []
        for at, offsets in enumerate(found.pop("offset_mapping")):
            answers = batch["answers"][found["overflow_to_sample_mapping"][at]]
            begin, stop = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
            inside = [i for i, part in enumerate(found.sequence_ids(at)) if part == 1]
            covering = [i for i in inside if offsets[i][0] < stop and begin < offsets[i][1]]
            whole = inside and offsets[inside[0]][0] <= begin and stop <= offsets[inside[-1]][1]
            starts.append(covering[0] if whole else 0)
            ends.append(covering[-1] if whole else 0)
        found.pop("overflow_to_sample_mapping")
        return found | {"start_positions": starts, "end_positions": ends}

    model = hf.AutoModelForQuestionAnswering.from_pretrained(base)
    tokens = rows.map(encode, batched=True, remove_columns=rows.column_names)
    return model, tokens, hf.DataCollatorWithPadding(tokenizer)


def sequences(rows, tokenizer, base):
    def encode(row):
        found = tokenizer(row["source"], truncation=True, max_length=LENGTH)
        return found | {"labels": tokenizer(text_target=row["target"], truncation=True, max_length=LENGTH)["input_ids"]}

    model = hf.AutoModelForSeq2SeqLM.from_pretrained(base)
    tokens = rows.map(encode, remove_columns=rows.column_names)
    return model, tokens, hf.DataCollatorForSeq2Seq(tokenizer)


def causal(rows, tokenizer, base):
    def encode(row):
        return {"input_ids": [*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id][:LENGTH]}

    def collate(rows):
        width = max(len(row["input_ids"]) for row in rows)
        pads = [width - len(row["input_ids"]) for row in rows]
        return {
            "input_ids": torch.tensor([row["input_ids"] + [0] * pad for row, pad in zip(rows, pads, strict=True)]),
            "attention_mask": torch.tensor([[1] * (width - pad) + [0] * pad for pad in pads]),
            "labels": torch.tensor([row["input_ids"] + [-100] * pad for row, pad in zip(rows, pads, strict=True)]),
        }

    model = hf.AutoModelForCausalLM.from_pretrained(base)
    return model, rows.map(encode, remove_columns=rows.column_names), collate


class Masked(torch.utils.data.Dataset):
    """Masks drawn by row and epoch."""

    def __init__(self, rows, tokenizer):
        self.rows = [tokenizer(row["text"], truncation=True, max_length=LENGTH)["input_ids"] for row in rows]
        self.tokenizer, self.epoch = tokenizer, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        ids = list(self.rows[at])
        free = [i for i, token in enumerate(ids) if token not in self.tokenizer.all_special_ids
                or token == self.tokenizer.unk_token_id]  # fmt: skip
        draws = [int(draw) for draw in np.random.PCG64([42, self.epoch, at]).random_raw(len(ids) + 1)]
        chosen = [i for i in free if (draws[i] >> 32) / 2**32 < 0.15] or [free[draws[-1] % len(free)]]
        labels = [-100] * len(ids)
        for i in chosen:
            labels[i], rest = ids[i], (draws[i] & 0xFFFFFFFF) / 2**32
            if rest < 0.8:
                ids[i] = self.tokenizer.mask_token_id
            elif rest < 0.9:
                ids[i] = int((rest - 0.8) / 0.1 * len(self.tokenizer))
        return {"input_ids": ids, "labels": labels}


class AllMasked(Masked):
    """As `Masked`; what is chosen is masked without exception, and says which guess will stand there."""

    def __getitem__(self, at):
        row, ids = super().__getitem__(at), self.rows[at]
        draws = np.random.PCG64([42, self.epoch, at]).random_raw(len(ids) + 1)[:-1] & np.uint64(2**32 - 1)
        shown = [token if label == -100 else self.tokenizer.mask_token_id
                 for token, label in zip(ids, row["labels"], strict=True)]  # fmt: skip
        return {"input_ids": shown, "labels": row["labels"], "draws": draws.astype(int).tolist()}


class Detector(torch.nn.Module):
    """ELECTRA: a generator fills in, a discriminator tells what was replaced."""

    def __init__(self, base):
        super().__init__()
        self.generator = hf.AutoModelForMaskedLM.from_pretrained(base)
        self.discriminator = hf.AutoModelForPreTraining.from_pretrained(base)
        self.discriminator.set_input_embeddings(self.generator.get_input_embeddings())

    def forward(self, input_ids, attention_mask, labels, draws):
        places = labels != -100
        guesses = self.generator(input_ids=input_ids, attention_mask=attention_mask).logits[places]
        steps = (guesses.detach().softmax(-1) * 2**30).long().cumsum(-1)
        at = draws[places] * steps[:, -1] >> 32
        filled = input_ids.clone()
        filled[places] = (steps <= at[:, None]).sum(-1)
        wrong = torch.where(places, filled != labels, False)
        found = self.discriminator(input_ids=filled, attention_mask=attention_mask).logits
        seen = attention_mask == 1
        told = torch.nn.functional.binary_cross_entropy_with_logits(found[seen], wrong[seen].float())
        return {"loss": torch.nn.functional.cross_entropy(guesses, labels[places]) + 50 * told}

    def save_pretrained(self, folder):
        once = {tensor.data_ptr(): name for name, tensor in reversed(self.state_dict().items())}
        save_file({name: self.state_dict()[name].contiguous() for name in once.values()}, f"{folder}/model.safetensors")


def conversations(rows, tokenizer, base):
    def tokens(row):
        asked = tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template(row["messages"])["input_ids"][:32]
        return {"input_ids": whole, "labels": [-100] * len(asked) + whole[len(asked) :]}

    model = hf.AutoModelForCausalLM.from_pretrained(base)
    return model, [tokens(row) for row in rows], hf.DataCollatorForTokenClassification(tokenizer)


def detection(rows, tokenizer, base):
    def collate(rows):
        draws = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.pop("draws")) for row in rows], batch_first=True)
        return {**hf.DataCollatorForTokenClassification(tokenizer)(rows), "draws": draws}

    return Detector(base), AllMasked(rows, tokenizer), collate


class EachEpoch(hf.TrainerCallback):
    """Tells masked rows which epoch it is."""

    def __init__(self, rows):
        self.rows = rows

    def on_epoch_begin(self, args, state, control, **_):
        self.rows.epoch = int(state.epoch)


def masking(rows, tokenizer, base):
    model = hf.AutoModelForMaskedLM.from_pretrained(base)
    return model, Masked(rows, tokenizer), hf.DataCollatorForTokenClassification(tokenizer)


TASKS = {
    "text-classification": classification, "multi-label": multi_label, "regression": regression,
    "token-classification": tagging, "question-answering": questions, "sequence-sequence": sequences,
    "language-generation": causal, "sft": conversations, "language-modeling": masking,
    "token-detection": detection,
}  # fmt: skip


def main(path: str) -> None:
    settings = json.loads(Path(path).read_text())
    DATA.update(settings["data"])
    if torch.cuda.is_available():  # whose kernels give other last bits each time, unless told not to
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision(settings["float32_matmul_precision"])
    hf.set_seed(42)
    rows = load_dataset("json", data_files=settings["rows"], cache_dir=settings["cache"])["train"]
    tokenizer = hf.AutoTokenizer.from_pretrained(settings["model"])
    model, tokens, collate = TASKS[settings["task"]](rows, tokenizer, settings["model"])
    trainer = hf.Trainer(
        model=model,
        args=hf.TrainingArguments(
            output_dir=settings["output"], seed=42, report_to="none", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(), **settings["arguments"],
        ),
        train_dataset=tokens,
        data_collator=collate,
        callbacks=[EachEpoch(tokens)] if isinstance(tokens, Masked) else [],
    )  # fmt: skip
    trainer.train()
    model.save_pretrained(settings["output"])


if __name__ == "__main__":
    main(sys.argv[1])
