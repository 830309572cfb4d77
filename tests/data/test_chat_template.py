"""Which characters of a rendered conversation are trained, by kind of chat template; and templates that do not fit."""

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tasks.config.errors import ConfigError
from tasks.data.chat.formats import Conversation
from tasks.data.chat.template import Template
from tasks.models.bases.chat_template import CHATML, set_template

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2"},
]
# As SmolLM2's: a system message of its own if there is none.
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}{"
    "{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Llama 3's: begins with BOS, contents are stripped, no whitespace after a turn.
LLAMA = (
    "{% for message in messages %}{% set turn = '<|start|>' + message['role'] + '<|end|>\n\n' + message['content'] | "
    "trim + '<|eot|>' %}"
    "{% if loop.first %}{% set turn = bos_token + turn %}{% endif %}{{ turn }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
# As Mistral's: no header of answers, EOS after each.
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + "
    "' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
# As Gemma's: another name of the assistant, no system message.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    "{{ message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# As Qwen 3's: only the last answer shows that nothing was thought.
QWEN = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = ("<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>", "<|eot|>", "<start_of_turn>", "<end_of_turn>", "</s>")


def tokenizer(template: str | None, with_bos: bool = False, eos: str = "</s>") -> Any:
    core = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    found = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token=eos)
    found.add_special_tokens({"additional_special_tokens": list(TOKENS)})
    if with_bos:
        found.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    if template is not None:
        set_template(found, template)
    return found


def trained(template: str, turns: list[Any], train_on: str | None, given: int | None = None, **more: Any) -> list[str]:
    found = Template(tokenizer(template, **more)).render(Conversation(turns, given), train_on)
    return [found.text[start:end] for start, end in found.spans]


@pytest.mark.parametrize(
    ("template", "turns", "answers"),
    [
        (SMOLLM, TURNS, ["1<|im_end|>", "2<|im_end|>"]),
        (SMOLLM, TURNS[1:], ["1<|im_end|>", "2<|im_end|>"]),
        (CHATML, TURNS, ["1<|im_end|>", "2<|im_end|>"]),
        (LLAMA, TURNS, ["1<|eot|>", "2<|eot|>"]),
        (GEMMA, TURNS[1:], ["1<end_of_turn>", "2<end_of_turn>"]),
        (MISTRAL, TURNS[1:], [" 1</s>", " 2</s>"]),
    ],
    ids=["SmolLM", "SmolLM without system", "ChatML", "Llama", "Gemma", "Mistral"],
)
def test_answers_with_their_end_are_trained(template: str, turns: list[Any], answers: list[str]) -> None:
    assert trained(template, turns, "assistant") == trained(template, turns, None) == answers
    assert trained(template, turns, "last_turn") == trained(template, turns, "completion") == answers[1:]
    (whole,) = trained(template, turns, "all")
    assert all(turn["content"] in whole for turn in turns) and whole.endswith(
        answers[-1].strip() + whole[-1:].strip(">")
    )


def test_a_completion_is_what_follows_the_prompt() -> None:
    assert trained(SMOLLM, TURNS, None, given=4) == trained(SMOLLM, TURNS, "completion", given=4) == ["2<|im_end|>"]
    assert trained(SMOLLM, TURNS, None, given=2) == ["1<|im_end|>", "2<|im_end|>"]
    assert trained(SMOLLM, TURNS, "last_turn", given=2) == ["2<|im_end|>"]
    assert trained(SMOLLM, TURNS, "assistant", given=4) == ["1<|im_end|>", "2<|im_end|>"]


def test_a_template_that_changes_earlier_turns() -> None:
    assert trained(QWEN, TURNS, "last_turn") == ["<think>\n\n</think>\n\n2<|im_end|>"]
    with pytest.raises(ConfigError, match=r"renders a turn in another way if others follow.*data.train_on: last_turn"):
        trained(QWEN, TURNS, "assistant")
    marked = QWEN.replace("{{ message['content'] + '<|im_end|>\n' }}", "{% if message['role'] == 'assistant' %}"
                          "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
                          "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}")  # fmt: skip
    assert trained(marked, TURNS, "assistant") == ["1<|im_end|>", "2<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "more", "message"),
    [
        (None, {}, "model.chat_template: conversations need one, and the base has none; set it to chatml"),
        (SMOLLM.replace("{% if add_generation_prompt %}", "{% if false %}"), {}, "to write '<.im_start.>assistant"),
        (SMOLLM.replace("{{ '<|im_start|>assistant\n' }}", "{{ 'ASSISTANT:' }}"), {}, "not begin with what add_gen"),
        (SMOLLM.replace("+ '<|im_end|>' + '\n'", "+ '\n'"), {}, "an answer ends with '.*', which is no special token"),
        (SMOLLM, {"with_bos": True}, "a conversation does not begin with '<s>'"),
        (LLAMA.replace("bos_token + turn", "bos_token + bos_token + turn"), {"with_bos": True}, "twice with '<s>'"),
        ("{{ messages.nothing.at }}", {}, "model.chat_template: it cannot render a conversation of user: "),
    ],
)  # fmt: skip
def test_templates_that_do_not_fit(template: str | None, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Template(tokenizer(template, **more))


def test_a_conversation_that_a_template_refuses() -> None:
    with pytest.raises(ConfigError, match=r"cannot render a conversation of system, .*: System role not"):
        trained(GEMMA, TURNS, "assistant")


def test_chatml_needs_its_tokens_and_has_the_bos_of_the_tokenizer() -> None:
    assert Template(tokenizer(CHATML, with_bos=True)).text(TURNS[1:2]) == "<s><|im_start|>user\nOne?<|im_end|>\n"
    assert Template(tokenizer(CHATML)).text(TURNS[1:2]) == "<|im_start|>user\nOne?<|im_end|>\n"
    core = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    with pytest.raises(ConfigError, match=r"model.chat_template: chatml needs the tokens .* has no <\|im_start\|>"):
        set_template(PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>"), CHATML)
