"""Renders conversations with a tokenizer's chat template, and finds the characters that are trained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
            raise ConfigError(f"{FIELD}: conversations need one, and the base has none; set it to chatml (if its "
                              "tokenizer has <|im_start|> and <|im_end|>), or to a Jinja template")  # fmt: skip
        self.marks = "{% generation" in (text := _text(tokenizer.chat_template)) or "{%- generation" in text
        self._check()

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


def ends(tokenizer: Any, usual: int | Sequence[int] | None) -> list[int]:
    """Return the ids at which generation stops: the `usual` ones of the model's generation config, the tokenizer's end
    token, and what ends an answer, if it has a usable template (a model trained on raw texts needs none)."""
    try:
        answer = Template(tokenizer).end
    except ConfigError:
        answer = None
    known = [usual] if isinstance(usual, int) else [*(usual or ())]
    return list(dict.fromkeys(each for each in (*known, tokenizer.eos_token_id, answer) if each is not None))


def generation_tokens(tokenizer: Any, base: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a generation config with which texts end where training taught the model to.

    Args:
        base: the fields of the base's own.
    """
    stops = ends(tokenizer, base.get("eos_token_id"))
    return {"eos_token_id": stops if len(stops) > 1 else stops[0], "pad_token_id": tokenizer.pad_token_id}


def raw(tokenizer: Any, text: str, end: bool) -> str:
    """Return a raw text with the BOS token, if the tokenizer begins every text with it, and with the end token if
    `end`; neither is added where it already is.

    Raises:
        ConfigError: the tokenizer has no end token.
    """
    bos: str = tokenizer.bos_token or ""
    begins = bos and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] and not text.startswith(bos)
    if end and tokenizer.eos_token is None:
        raise ConfigError("model.name: its tokenizer has no end token to append to texts; use another base")
    missing = end and not text.rstrip().endswith(tokenizer.eos_token)
    return f"{bos if begins else ''}{text}{tokenizer.eos_token if missing else ''}"


class Renderer:
    """Renders rows: conversations with the tokenizer's template (which is checked when the first one is rendered), and
    raw texts as they are.

    Args:
        train_on: see `Template.render`; raw texts can only be trained as a whole.
    """

    def __init__(self, tokenizer: Any, train_on: str | None = None) -> None:
        self.tokenizer, self.train_on = tokenizer, train_on

    @cached_property
    def template(self) -> Template:
        """The tokenizer's template.

        Raises:
            ConfigError: see `Template`.
        """
        return Template(self.tokenizer)

    def check(self, found: Conversation) -> None:
        """Raise what concerns all rows like this one.

        Raises:
            ConfigError: the template cannot be used; `train_on` names turns, and the row is a raw text.
        """
        if found.text is None:
            _ = self.template
        elif self.train_on not in (None, "all"):
            raise ConfigError(f"data.train_on: {self.train_on} given, but the rows are raw texts, in which nothing "
                              "tells the assistant's words from others, so that all tokens are trained; leave it out, "
                              "or give conversations (messages, or prompt and completion)")  # fmt: skip

    def render(self, found: Conversation) -> Rendered:
        """Return a row to train on; see `Template.render`."""
        if found.text is None:
            return self.template.render(found, self.train_on)
        text = raw(self.tokenizer, found.text, end=True)
        return Rendered(text, [(0, len(text))])

    def prompt(self, found: Conversation) -> str:
        """Return the text that a model is to continue."""
        if found.text is not None:
            return raw(self.tokenizer, found.text, end=False)
        return self.template.text(found.messages, found.tools, answer=True)


def _authors(messages: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(turn.get("role")) for turn in messages)


def _text(template: Any) -> str:
    return template if isinstance(template, str) else "\n".join(template.values())
