"""Renders conversations with a tokenizer's chat template, and finds the characters that are trained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError

from tasks.config.errors import ConfigError
from tasks.data.chat.formats import Conversation

Span = tuple[int, int]
FIELD = "model.chat_template"
ANSWER = "answer"
PROBE = ({"role": "user", "content": "question"}, {"role": "assistant", "content": ANSWER})


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and the spans of its characters that are trained."""

    text: str
    spans: Sequence[Span]


class Template:
    """The chat template of a tokenizer.

    Args:
        tokenizer: a fast transformers tokenizer with a chat template.

    Attributes:
        end: id of the token that ends an answer.

    Raises:
        ConfigError: it has no template, or one that does not fit the tokenizer or cannot be trained on.
    """

    end: int

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise ConfigError(f"{FIELD}: the model has no chat template; set it to chatml (if its tokenizer has "
                              "<|im_start|> and <|im_end|>), or to a file")  # fmt: skip
        self.marks = "{% generation" in (text := _text(tokenizer.chat_template)) or "{%- generation" in text
        self._check()

    def ends(self, model: Any) -> list[int]:
        """Return the ids at which generation stops: those of the model's own config, and the end of an answer."""
        usual = model.generation_config.eos_token_id
        return list(dict.fromkeys([*(usual if isinstance(usual, list) else [usual] * (usual is not None)), self.end]))

    def render(self, found: Conversation, train_on: str | None) -> Rendered:
        """Return the text of a conversation.

        Args:
            train_on: `assistant` (all its turns), `last_turn` (the last of them), `completion` (those after the prompt
                if the row says where that ends, else the last), `all`; None: `completion` if the row says where
                that begins, else `assistant`.

        Raises:
            ConfigError: the template cannot render it, or not so that a turn can be told from what is before it.
        """
        whole = self.text(found.messages, found.tools)
        if train_on == "all":
            return Rendered(whole, [(0, len(whole))])
        turns = [at for at, turn in enumerate(found.messages) if turn["role"] == "assistant"]
        answers = [at for at in turns if at >= (found.given or 0)]
        if train_on == "last_turn" or (train_on == "completion" and found.given is None):
            answers = answers[-1:]
        elif train_on == "assistant":
            answers = turns
        if self.marks:
            spans = self._marked(found)
            return Rendered(whole, [spans[turns.index(at)] for at in answers])
        return Rendered(whole, list(self._spans(found, whole, answers)))

    def text(self, messages: Sequence[Any], tools: Any = None, answer: bool = False) -> str:
        """Return messages as text, with the beginning of an answer if `answer`."""
        try:
            return self.tokenizer.apply_chat_template(
                list(messages), tools=tools, add_generation_prompt=answer, tokenize=False
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"{FIELD}: it cannot render a conversation of {_authors(messages)}: {error}") from error

    def _marked(self, found: Conversation) -> Sequence[Span]:
        """Return the spans of all turns of the assistant, as the template's `{% generation %}` marks them."""
        from transformers.utils.chat_template_utils import render_jinja_template

        special: Any = self.tokenizer.special_tokens_map
        template = self.tokenizer.get_chat_template(tools=found.tools)
        _, spans = render_jinja_template(
            conversations=[list(found.messages)], tools=list(found.tools or []) or None, chat_template=template,
            return_assistant_tokens_mask=True, **special,
        )  # fmt: skip
        return [(int(start), int(end)) for start, end in spans[0]]

    def _spans(self, found: Conversation, whole: str, answers: Sequence[int]) -> Iterator[Span]:
        for at in answers:
            before = self.text(found.messages[:at], found.tools, answer=True)
            until = self.text(found.messages[: at + 1], found.tools)
            if not (whole.startswith(until) and until.startswith(before)):
                raise ConfigError(
                    f"{FIELD}: it renders a turn in another way if others follow it, so that earlier turns cannot be "
                    "trained on as they are generated; set data.train_on: last_turn, or use a template that marks "
                    "answers with {% generation %}"
                )
            yield len(before), len(self._without_separator(until))

    def _without_separator(self, text: str) -> str:
        """Return a turn's text without the whitespace between its end token and the next turn."""
        short = text.rstrip()
        return short if any(short.endswith(token) for token in self._ends()) else text

    def _ends(self) -> Sequence[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return [*self.tokenizer.all_special_tokens, *(str(each) for each in added)]

    def _check(self) -> None:
        """Try the template on a question and an answer."""
        asked, whole = self.text(PROBE[:1], answer=True), self.text(PROBE)
        if not whole.startswith(asked):
            raise ConfigError(f"{FIELD}: answers do not begin with what add_generation_prompt adds, in {whole!r}")
        start, end = self.render(Conversation(PROBE), "last_turn").spans[0]
        if asked == self.text(PROBE[:1]) and not whole[start:end].lstrip().startswith(ANSWER):
            raise ConfigError(f"{FIELD}: it adds nothing for add_generation_prompt, so that a model would have to "
                              f"write {whole[start:end].partition(ANSWER)[0]!r} itself")  # fmt: skip
        self.end = self._end_of(whole[start:end])
        self._check_start(whole)

    def _end_of(self, answer: str) -> int:
        ids = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder} - {
            self.tokenizer.unk_token_id
        }
        if not ids or ids[-1] not in special:
            raise ConfigError(f"{FIELD}: an answer ends with {answer[-20:]!r}, which is no special token of this "
                              "tokenizer, so that a model would not learn to stop")  # fmt: skip
        return ids[-1]

    def _check_start(self, text: str) -> None:
        bos = self.tokenizer.bos_token_id
        plain = self.tokenizer("a")["input_ids"]
        if bos is None or plain[:1] != [bos]:
            return
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids[:1] != [bos] or ids[1:2] == [bos]:
            many = "does not begin" if ids[:1] != [bos] else "begins twice"
            raise ConfigError(f"{FIELD}: a conversation {many} with {self.tokenizer.bos_token!r}, with which this "
                              "tokenizer begins every text")  # fmt: skip


def _authors(messages: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(turn.get("role")) for turn in messages)


def _text(template: Any) -> str:
    return template if isinstance(template, str) else "\n".join(template.values())
