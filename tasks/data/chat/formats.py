"""Reads conversations in the common formats of fine-tuning data into one: a list of messages as OpenAI's API has them.

| format | columns |
|---|---|
| messages (OpenAI, TRL) | `messages`: `[{role, content}, …]`, maybe `tools` |
| ShareGPT (LLaMA-Factory, axolotl) | `conversations`: `[{from, value}, …]`, maybe `system`, `tools` |
| prompt and completion (TRL) | `prompt`, `completion`: texts or messages |
| Alpaca (LLaMA-Factory) | `instruction`, maybe `input`, `output`, `system`, `history` |
| raw text (TRL) | `text`, rendered already, or no conversation |
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.config.json_types import JsonObject

# A message's author by the names that data sets use for it, lower case.
AUTHORS = {
    "system": "system", "developer": "developer",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool",
}  # fmt: skip
KEYS = (("role", "content"), ("from", "value"))  # of a message's author and text
LISTED = re.compile(r"""\s*\[?\s*\{\s*(['"])(role|content|from|value)\1\s*:""")
KEPT = ("name", "tool_calls", "tool_call_id", "reasoning_content")  # what a template may use besides role and content


class Unreadable(ValueError):
    """Why a row is no conversation, as the end of a sentence that begins with `row whose`."""


@dataclass(frozen=True)
class Conversation:
    """The messages of a row.

    Attributes:
        messages: dicts of `role` and `content` (text, or None if there are `tool_calls`), and `KEPT`.
        given: how many messages come before the completion; None if the row does not say.
        tools: JSON schemas of the functions that the model may call, for the template.
        text: a raw text, in place of messages.
    """

    messages: Sequence[JsonObject]
    given: int | None = None
    tools: Sequence[Any] | None = None
    text: str | None = None


def conversation(row: Mapping[str, Any]) -> Conversation:
    """Return the conversation in a row.

    Args:
        row: values by role: `messages`, or `prompt` and `completion` with `input`, `system`, `history`, `tools`;
            or `text`.

    Raises:
        Unreadable: it has none.
    """
    if "text" in row:
        if not (text := _text(row["text"], "text")).strip():
            raise Unreadable("text is empty")
        return Conversation((), text=text)
    tools = _tools(row.get("tools"))
    system = [{"role": "system", "content": text}] if (text := _text(row.get("system"), "system")) else []
    if "messages" in row:
        found = _messages(row["messages"], "messages")
        if system and found[0]["role"] in ("system", "developer"):
            raise Unreadable("messages begin with a system message, beside a column of system messages")
        return Conversation([*system, *found], None, tools)
    before = [*system, *_history(row.get("history")), *_asked(row)]
    if row.get("completion") is None:
        raise Unreadable("completion is empty")
    answer = listed(row["completion"], "completion")
    turns = [_said("assistant", answer)] if isinstance(answer, str) else _messages(answer, "completion")
    return Conversation([*before, *turns], len(before), tools)


def listed(given: Any, what: str) -> Any:
    """Return the messages that a text has as JSON, a list of them or one; any other value as it is.

    Raises:
        Unreadable: they are in Python's notation, as pandas writes lists to a CSV.
    """
    if not isinstance(given, str) or not (start := LISTED.match(given)):
        return given
    try:
        found = json.loads(given)
    except (ValueError, RecursionError) as error:
        if start[1] == "'":
            raise Unreadable(f"{what} is a list of messages in Python's notation; write it as JSON") from error
        return given
    turns = found if isinstance(found, list) else [found]
    are_messages = all(isinstance(turn, dict) and any(turn.keys() >= {*pair} for pair in KEYS) for turn in turns)
    return turns if are_messages else given


def prompt_of(row: Mapping[str, Any]) -> Conversation:
    """Return the conversation that a model is to continue: like `conversation`, without a completion.

    Trailing turns of the assistant are left out.

    Raises:
        Unreadable: nothing is left.
    """
    if "text" in row:
        return conversation(row)
    if "messages" in row:
        found = conversation(row)
        messages = list(found.messages)
    else:
        found = conversation({**row, "completion": "-"})
        messages = list(found.messages[: found.given])
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        raise Unreadable("messages are all by the assistant")
    return Conversation(messages, None, found.tools)


def _asked(row: Mapping[str, Any]) -> list[JsonObject]:
    """Return the messages of `prompt` and `input`; of texts, both are one message."""
    prompt, more = listed(row.get("prompt"), "prompt"), _text(row.get("input"), "input")
    if isinstance(prompt, str) or prompt is None:
        text = "\n".join(part for part in (prompt, more) if part and part.strip())
        if not text:
            raise Unreadable("prompt is empty")
        return [_said("user", text)]
    if more:
        raise Unreadable("prompt is a list of messages, beside a column of input texts")
    return _messages(prompt, "prompt")


def _history(turns: Any) -> list[JsonObject]:
    """Return the messages of LLaMA-Factory's `history`, a list of pairs of texts."""
    turns = _parsed(turns, "history") or []
    if not all(isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)
               for turn in turns):  # fmt: skip
        raise Unreadable("history is not a list of pairs [question, answer]")
    return [_said(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]


def _said(role: str, text: str) -> JsonObject:
    return {"role": role, "content": text}


def _messages(given: Any, what: str) -> list[JsonObject]:
    turns = _parsed(given, what)
    if not turns or not isinstance(turns, list):
        raise Unreadable(f"{what} are no list of messages" if turns else f"{what} are empty")
    return [_message(turn, f"message {at} of {what}") for at, turn in enumerate(turns, 1)]


def _message(turn: Any, what: str) -> JsonObject:
    if not isinstance(turn, dict):
        raise Unreadable(f"{what} is no object with role and content")
    keys = next((pair for pair in KEYS if pair[0] in turn), None)
    if keys is None:
        raise Unreadable(f"{what} has neither 'role' nor 'from', but {', '.join(map(repr, turn))}")
    author, content = (turn.get(key) for key in keys)
    role = AUTHORS.get(str(author).lower())
    if role is None:
        raise Unreadable(f"{what} is by {author!r}; valid are {', '.join(AUTHORS)}")
    more = {name: turn[name] for name in KEPT if turn.get(name)}
    if "tool_calls" in more:
        more["tool_calls"] = _parsed(more["tool_calls"], f"tool_calls of {what}")
    if str(author).lower() == "function_call":
        more["tool_calls"], content = [_call(content, what)], None
    if isinstance(content, list):
        content = _joined(content, what)
    if content is not None and not isinstance(content, str):
        raise Unreadable(f"{what} has a content that is no text")
    if not (content or more.get("tool_calls") or role == "tool"):
        raise Unreadable(f"{what} has no content")
    return {"role": role, "content": content, **more}


def _call(content: Any, what: str) -> JsonObject:
    """Return ShareGPT's function call, `{"name": …, "arguments": …}`, as OpenAI's API has it."""
    call = _parsed(content, what)
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise Unreadable(f"{what} is a function call without a name")
    arguments = _parsed(call.get("arguments"), what)
    return {"type": "function", "function": {"name": call["name"], "arguments": arguments or {}}}


def _joined(parts: Sequence[Any], what: str) -> str:
    """Return the text of a content in parts, `[{type: text, text: …}]`."""
    other = next((part for part in parts if not isinstance(part, dict) or part.get("type") != "text"), None)
    if other is not None:
        kind = other.get("type") if isinstance(other, dict) else type(other).__name__
        raise Unreadable(f"{what} has a part of type {kind!r}; only text can be trained on")
    return "".join(str(part.get("text") or "") for part in parts)


def _tools(given: Any) -> Sequence[Any] | None:
    found = _parsed(given, "tools")
    if not found:
        return None
    if not isinstance(found, list):
        raise Unreadable("tools are no list")
    return found


def _text(given: Any, what: str) -> str:
    if given is not None and not isinstance(given, str):
        raise Unreadable(f"{what} is no text")
    return given or ""


def _parsed(given: Any, what: str) -> Any:
    """Return the JSON in a text; of another value, all but the nulls that Arrow adds to objects with different keys."""
    if not isinstance(given, str):
        return _without_nulls(given)
    try:
        return json.loads(given) if given.strip() else None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{what} are a text that is not valid JSON: {error}") from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
