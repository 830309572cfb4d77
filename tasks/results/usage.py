"""Lines of Python that load a finished model and run it."""

from collections.abc import Collection, Mapping
from typing import Any

from tasks.config.tuners import OWN
from tasks.objectives.base import Objective


def usage(folder: str, auto_model: str, tag: str, adapter: Mapping[str, Any] | None, sample: str = "") -> str:
    """Return the lines that load and run the model in `folder`.

    Args:
        adapter: its `adapter_config.json`, if it is one. sample: what to give the pipeline, if not a text.
    """
    given = sample or PIPELINES.get(tag)
    if auto_model.startswith("live:"):
        return f"""from safetensors.torch import load_file

model.load_state_dict(load_file({folder + "/model.safetensors"!r}))  # of {auto_model.removeprefix("live:")}"""
    if ":" in auto_model:  # a class of this project: its two models are in two folders
        return f"""from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained({folder + "/discriminator"!r})
tokenizer = AutoTokenizer.from_pretrained({folder + "/discriminator"!r})"""
    if adapter is None:
        loading = f"""model = {auto_model}.from_pretrained({folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})"""
        imports = f"from transformers import {auto_model}, AutoTokenizer"
        if tag in PIPELINES and tag != "fill-mask":
            return f"""from transformers import pipeline

print(pipeline({tag!r}, {folder!r})({given}))"""
    else:
        imports = f"""from peft import PeftModel
from transformers import AutoConfig, {auto_model}, AutoTokenizer"""
        if own := OWN.get(adapter["peft_type"].lower()):
            imports += f"\n\nimport {own}  # peft itself lacks this method"
        # the base's own head may have other classes; the adapter contains the trained one
        sizes = ", ignore_mismatched_sizes=True" if "Classification" in auto_model else ""
        limits = ""
        if tag == "text2text-generation" or (tag == "text-generation" and sample):
            # the base has its own limits, and its own end of a text
            imports = imports.replace("AutoTokenizer", "AutoTokenizer, GenerationConfig")
            limits = f"base.generation_config = GenerationConfig.from_pretrained({folder!r})\n"
        loading = f"""config = AutoConfig.from_pretrained({folder!r})
base = {auto_model}.from_pretrained({adapter["base_model_name_or_path"]!r}, config=config{sizes})
{limits}model = PeftModel.from_pretrained(base, {folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})"""
    if tag in PIPELINES:
        imports = imports.replace("AutoTokenizer", "AutoTokenizer, pipeline")
    return f"""{imports}

{loading}
{EXAMPLES.get(tag) or f"print(pipeline({tag!r}, model=model, tokenizer=tokenizer)({given}))"}"""


def sample_of(objective: Objective, columns: Collection[str]) -> str:
    """Return what an example gives the pipeline: `Objective.sample`, or a text for a model trained on raw texts.

    Args:
        columns: the roles that the training rows had.
    """
    return "" if "text" in columns else objective.sample


# Tasks that transformers 5 has a pipeline for, with an example input.
PIPELINES = {
    "text-classification": '"your text"',
    "token-classification": '"your text"',
    "text-generation": '"your text"',
    "fill-mask": 'f"your {tokenizer.mask_token} text"',
}
EXAMPLES = {
    "question-answering": """tokens = tokenizer("your question", "your text", return_tensors="pt")
answer = model(**tokens)
start, end = int(answer.start_logits.argmax()), int(answer.end_logits.argmax())
print(tokenizer.decode(tokens["input_ids"][0, start : end + 1]))""",
    "text2text-generation": """tokens = model.generate(**tokenizer("your text", return_tensors="pt"))
print(tokenizer.decode(tokens[0], skip_special_tokens=True))""",
}
