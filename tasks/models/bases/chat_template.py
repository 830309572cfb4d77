"""The chat template that a run gives a model: ChatML, or a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIELD = "model.chat_template"
TURN, END = "<|im_start|>", "<|im_end|>"
# ChatML as Qwen, SmolLM2 and others use it, without a system message of its own; answers are marked as transformers'
# `return_assistant_tokens_mask` needs it.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ (message['content'] or '') + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ (message['content'] or '') + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def template_text(given: str | None) -> str | None:
    """Return the template that a config names: `chatml`, or the text of a file; None for the model's own.

    Raises:
        ConfigError: there is no such file.
    """
    if given is None or given == "chatml":
        return given and CHATML
    path = Path(given).expanduser()
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{FIELD}: {given!r} cannot be read ({why}); valid: chatml, or a file with a Jinja "
                          "template") from error  # fmt: skip


def set_template(tokenizer: "PreTrainedTokenizerBase", text: str) -> None:
    """Give a tokenizer this template; ChatML begins with its BOS token, if it puts one before every text.

    Raises:
        ConfigError: ChatML, and the tokenizer lacks its tokens.
    """
    if text == CHATML:
        if missing := [token for token in (TURN, END) if token not in tokenizer.get_vocab()]:
            raise ConfigError(f"{FIELD}: chatml needs the tokens {TURN} and {END}, and this tokenizer has no "
                              f"{missing[0]}; use a file with a template of its own tokens")  # fmt: skip
        bos = tokenizer.bos_token_id
        if bos is not None and tokenizer("a")["input_ids"][:1] == [bos]:
            text = "{{ bos_token }}" + text
    tokenizer.chat_template = text
