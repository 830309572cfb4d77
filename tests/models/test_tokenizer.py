"""What a tokenizer claims and what its model can read need not agree."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline, set_seed

from tasks.config import ConfigError
from tasks.models.assemble import starting_model
from tasks.models.create import create
from tasks.models.load import Loading
from tests.flow.scenes import executed
from tests.tiny import make_config, make_electra, make_rows, make_task

ADDED = ["<a>", "<b>", "<c>"]


def with_tokens(base: Path, folder: Path) -> Path:
    """The base with three tokens more than the model has rows for."""
    shutil.copytree(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(ADDED)
    tokenizer.save_pretrained(folder)
    return folder


def test_added_tokens_get_rows_as_in_a_script(bert: Path, tmp_path: Path) -> None:
    base, out = with_tokens(bert, tmp_path / "base"), tmp_path / "out"
    tokenizer = AutoTokenizer.from_pretrained(base)
    out.mkdir()
    loading = Loading("AutoModelForSequenceClassification", "float32")
    made = create(base, out, loading, {"labels": ["a", "b"], "problem_type": None}, 7, 0, len(tokenizer))
    found = starting_model(out, {path.name: path for path in base.iterdir()}, vars(loading), None)
    set_seed(7)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    plain.resize_token_embeddings(len(tokenizer))
    wanted = plain.state_dict()
    assert made.resized and found.config.vocab_size == len(tokenizer)
    assert found.state_dict().keys() == wanted.keys()
    assert all(found.state_dict()[name].equal(wanted[name]) for name in wanted)


@pytest.mark.parametrize("peft", ["none", "lora"])
def test_a_run_with_added_tokens_says_so(peft: str, bert: Path, tmp_path: Path, caplog: Any) -> None:
    base = with_tokens(bert, tmp_path / "base")
    rows = make_rows(tmp_path / "rows.csv")
    rows.write_text(rows.read_text().replace(" balen ", " <c> "))
    config = make_config(base, rows, tmp_path / "store", output_dir=str(tmp_path / "out"), train__max_steps=1)
    executed({**config, "peft": {"method": peft}})
    assert "model.name: its tokenizer has more tokens (76) than the model has embeddings" in caplog.text
    assert pipeline("text-classification", str(tmp_path / "out"))("fruit <c>")


def test_a_pair_of_models_is_refused(tmp_path: Path) -> None:
    base = with_tokens(make_electra(tmp_path / "electra"), tmp_path / "base")
    rows = make_rows(tmp_path / "rows.csv")
    config = make_config(base, rows, tmp_path / "store", task="token-detection", data__near_duplicates="off")
    with pytest.raises(ConfigError, match=r"its tokenizer has 76 tokens, and the model 73 embeddings; save it"):
        executed(config)


def test_the_saved_tokenizer_knows_the_models_limit(bert: Path, tmp_path: Path) -> None:
    base = shutil.copytree(bert, tmp_path / "base")
    claims = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**claims, "model_max_length": int(1e30)}))
    rows = make_rows(tmp_path / "rows.csv")
    out = str(tmp_path / "out")
    executed(make_config(base, rows, tmp_path / "store", output_dir=out, train__max_steps=1))
    assert AutoTokenizer.from_pretrained(out).model_max_length == 64
    assert pipeline("text-classification", out, truncation=True)("fruit " * 300)


def test_a_tokenizer_and_model_without_a_limit_get_the_length_in_training(tmp_path: Path) -> None:
    config = make_task("sequence-sequence", tmp_path)
    claims = tmp_path / "t5" / "tokenizer_config.json"
    claims.write_text(json.dumps({**json.loads(claims.read_text()), "model_max_length": int(1e30)}))
    config["train"] |= {"max_steps": 1, "predict_with_generate": False}
    executed(config, f"output_dir={tmp_path / 'out'}", "eval.splits=[validation]")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.model_max_length == 32 and len(tokenizer("bal " * 300, truncation=True).input_ids) == 32
