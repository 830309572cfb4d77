"""What is scored is what is saved: a base's own generation config does not override what a run asks for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tasks.config import ConfigError
from tasks.evaluation.predictors.texts import TextPredictor
from tasks.inference.predict import config_for, run_inference, with_arguments
from tasks.inference.saved_model import open_saved
from tasks.models.assemble import starting_model
from tasks.models.bases.tokenizer import read_base
from tasks.models.create import create
from tasks.models.generation import generate_as, scoring, unused, write_as_scored
from tasks.models.load import Loading
from tasks.results.usage import usage
from tests.tiny import make_decoder, make_t5

ASKED = {"predict_with_generate": True, "generation_max_length": 12}
TOKENS = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_t5(tmp_path_factory.mktemp("generation") / "t5")


def given_by_base(t5: Path, **fields: Any) -> Any:
    (t5 / "generation_config.json").write_text(json.dumps({**TOKENS, **fields}))
    return AutoModelForSeq2SeqLM.from_pretrained(t5).eval()


@pytest.mark.parametrize(
    "fields",
    [
        {"max_new_tokens": 3},
        {"max_new_tokens": 40, "max_length": 60},
        {"min_length": 30},
        {"min_new_tokens": 12},
        {"num_beams": 3},
        {"do_sample": True, "temperature": 5.0, "top_k": 4},
        {"num_beams": 2, "num_return_sequences": 2},
        {"return_dict_in_generate": True, "output_scores": True},
        {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 0.5},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"no_repeat_ngram_size": 2, "forced_eos_token_id": 1},
    ],
)
def test_the_saved_model_generates_what_was_scored(fields: dict[str, Any], t5: Path, tmp_path: Path) -> None:
    live, tokenizer = given_by_base(t5, **fields), AutoTokenizer.from_pretrained(t5)
    batch = {name: tensor for name, tensor in tokenizer(["balen koral", "fruit dumos"], return_tensors="pt").items()
             if name != "token_type_ids"}  # fmt: skip
    torch.manual_seed(3)
    said = TextPredictor({}, lambda: tokenizer, ASKED).batch(live, batch).columns["prediction"]
    assert len(said) == 2 and max(len(tokenizer(text)["input_ids"]) for text in said) <= 12
    write_as_scored(t5 / "generation_config.json", t5 / "config.json", tmp_path / "saved.json", ASKED)
    saved = given_by_base(t5, **fields)
    generate_as(saved, tmp_path / "saved.json")
    torch.manual_seed(4)
    produced = saved.generate(**batch)
    assert tokenizer.batch_decode(produced, skip_special_tokens=True) == said
    assert saved.generation_config.max_length == 12 and saved.generation_config.max_new_tokens is None


def test_texts_are_produced_where_training_measured_none(t5: Path, tmp_path: Path) -> None:
    given_by_base(t5)
    (tmp_path / "rows.jsonl").write_text('{"source": "balen koral"}\n')
    config = config_for(str(tmp_path / "rows.jsonl"), "summarization", [])
    saved = open_saved(str(t5), config)
    saved = replace(saved, arguments={**saved.arguments, "predict_with_generate": False})
    found: list[Any] = []
    run_inference(saved, config.data, False, found.append)
    assert isinstance(found[0]["prediction"][0].as_py(), str)


def test_a_limit_that_nobody_set_is_reported(t5: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"source": "balen koral"}\n')
    for fields, overrides, limited in (
        ({}, [], False), ({"max_new_tokens": 5}, [], True), ({}, ["train.generation_max_length=9"], True),
    ):  # fmt: skip
        given_by_base(t5, **fields)
        config = config_for(str(tmp_path / "rows.jsonl"), "summarization", overrides)
        lines: list[str] = []
        saved = with_arguments(open_saved(str(t5), config), config, False)
        run_inference(saved, config.data, False, lambda table: None, info=lines.append)
        assert any("end after 20 tokens" in line for line in lines) is not limited


def test_a_model_that_samples_gives_the_same_texts_again(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "balen koral"}\n{"text": "fruit"}\n')
    model = tmp_path / "llama"
    make_decoder(model)
    (model / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 9.0}))

    def texts(seed: int) -> list[str]:
        config = config_for(str(tmp_path / "rows.jsonl"), "language-generation", [])
        found: list[Any] = []
        before = torch.get_rng_state()
        run_inference(replace(open_saved(str(model), config), seed=seed), config.data, False, found.append)
        assert torch.equal(torch.get_rng_state(), before)
        return found[0]["prediction"].to_pylist()

    first = texts(1)
    torch.rand(3)
    assert texts(1) == first != texts(2)


def test_which_fields_are_left_out_is_said() -> None:
    assert unused({"max_length": 20, "num_beams": 4, "eos_token_id": 1}, ASKED) == ""
    assert unused({"max_new_tokens": 3, "min_length": 4, "do_sample": True, "top_p": 0.9}, ASKED) == (
        "its generation config is not used for max_new_tokens 3, do_sample True, top_p 0.9: each row gets one "
        "text, at most 12 tokens (train.generation_max_length), without sampling"
    )
    assert "min_length 12, num_return_sequences 3" in unused({"min_length": 12, "num_return_sequences": 3}, ASKED)
    assert scoring({"max_new_tokens": 3}, {}) == {}  # without a limit of the run the base's own stands
    asked = {**ASKED, "generation_num_beams": 1}
    assert scoring({"num_beams": 4}, asked) == {"max_length": 12, "max_new_tokens": None, "num_beams": 1}


def test_a_generation_config_is_written_as_scored(tmp_path: Path) -> None:
    before, target, config = (tmp_path / name for name in ("before.json", "generation_config.json", "config.json"))
    before.write_text('{"eos_token_id": 1, "max_length": 20}')
    config.write_text('{"model_type": "t5", "eos_token_id": 1, "decoder_start_token_id": 0, "hidden_size": 8}')
    assert write_as_scored(before, config, target, {**ASKED, "generation_num_beams": 4}) == ""
    assert json.loads(target.read_text()) == {"eos_token_id": 1, "max_length": 12, "num_beams": 4}
    write_as_scored(before, config, target, {**ASKED, "predict_with_generate": False})
    assert json.loads(target.read_text()) == json.loads(before.read_text())
    write_as_scored(None, config, target, ASKED)
    found = json.loads(target.read_text())
    assert (found["max_length"], found["eos_token_id"], found["decoder_start_token_id"]) == (12, 1, 0)


def test_a_model_in_training_has_its_bases_generation_config(t5: Path, tmp_path: Path) -> None:
    given_by_base(t5, no_repeat_ngram_size=2)
    loading, head = Loading("AutoModelForSeq2SeqLM", "float32"), {"labels": None, "problem_type": None}
    create(t5, tmp_path, loading, head, 7, 0)
    live = starting_model(tmp_path, {path.name: path for path in t5.iterdir()}, vars(loading), None)
    assert live.generation_config.no_repeat_ngram_size == 2


def test_the_lines_that_load_an_adapter_take_its_generation_config() -> None:
    adapter = {"base_model_name_or_path": "base", "peft_type": "LORA"}
    lines = usage("out", "AutoModelForSeq2SeqLM", "text2text-generation", adapter)
    assert "base.generation_config = GenerationConfig.from_pretrained('out')" in lines
    assert "GenerationConfig" not in usage("out", "AutoModelForCausalLM", "text-generation", adapter)


@pytest.mark.parametrize("text", ["[]", "{", "3", "null", '{"max_length": "many"}', '{"num_beams": [4]}'])
def test_a_broken_generation_config_is_refused(text: str, t5: Path, tmp_path: Path) -> None:
    (t5 / "generation_config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"model.name: its generation_config.json cannot be used: "):
        read_base(t5, tmp_path, False)
