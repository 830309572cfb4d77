"""Conversations with a trained model, one answer at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.inference.saved_model import Saved
from tasks.objectives import objective_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """How the tokens of an answer are chosen.

    Attributes:
        max_new_tokens: the longest answer. temperature: 0 always takes the likeliest token. top_p: sample only from the
            likeliest tokens with this share of the probability. seed: of the first answer.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def arguments(self) -> JsonObject:
        """Return the arguments of transformers' `generate`."""
        if not self.temperature:
            return {"max_new_tokens": self.max_new_tokens, "max_length": None, "do_sample": False,
                    **dict.fromkeys(("temperature", "top_p", "top_k"))}  # fmt: skip
        return {"max_new_tokens": self.max_new_tokens, "max_length": None, "do_sample": True,
                "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}  # fmt: skip


class Chat:
    """A conversation with a model. Its messages are in `messages`.

    Args:
        system: the system message. info: called with notes.

    Raises:
        ConfigError: the model was not trained on conversations, or cannot be loaded.
    """

    def __init__(
        self, saved: Saved, sampling: Sampling, system: str | None = None,
        info: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        if "chat_template" not in objective_of(saved.task).needs:
            raise ConfigError(f"MODEL: {saved.folder} was trained for {saved.task}, not on conversations (task: sft)")
        from tasks.data.chat.template import Template
        from tasks.inference.predict import load_model

        self.sampling, self.info, self.tokenizer = sampling, info, saved.tokenizer()
        self.template, self.model = Template(self.tokenizer), load_model(saved, True, info)
        self.system: list[JsonObject] = [{"role": "system", "content": system}] if system else []
        self.messages: list[JsonObject] = []
        self.answers = 0

    def reset(self) -> None:
        """Forget all messages but the system message."""
        self.messages = []

    def ask(self, text: str, on_text: Callable[[str], None] = lambda text: None) -> str:
        """Return the answer to `text`, which both become messages.

        Args:
            on_text: called with each part of the answer as it is generated.

        Raises:
            ConfigError: `text` alone is too long for the model.
        """
        from transformers import set_seed

        turns = [*self.messages, {"role": "user", "content": text}]
        ids, turns = self._fitting(turns)
        set_seed(self.sampling.seed + self.answers)
        produced: torch.Tensor = self.model.generate(
            input_ids=ids, attention_mask=ids.new_ones(ids.shape), streamer=_stream(self.tokenizer, on_text),
            pad_token_id=self.tokenizer.pad_token_id, eos_token_id=self.template.ends(self.model),
            **self.sampling.arguments(),
        )  # fmt: skip
        answer = str(self.tokenizer.decode(produced[0, ids.shape[1] :], skip_special_tokens=True))
        self.messages = [*turns, {"role": "assistant", "content": answer}]
        self.answers += 1
        return answer

    def _fitting(self, turns: list[JsonObject]) -> "tuple[torch.Tensor, list[JsonObject]]":
        """Return the tokens of the conversation, without its oldest turns if it is too long, and the turns left."""
        import torch

        most = min(self.tokenizer.model_max_length, _positions(self.model)) - self.sampling.max_new_tokens
        given = len(turns)
        while True:
            ids = self._ids([*self.system, *turns])
            if len(ids) <= most:
                break
            if len(turns) == 1:
                raise ConfigError(f"{len(ids)} tokens leave no room for an answer of {self.sampling.max_new_tokens}: "
                                  f"the model takes {most + self.sampling.max_new_tokens}")  # fmt: skip
            turns = turns[2:]
        if given > len(turns):
            self.info(
                f"the conversation is longer than the model takes; {given - len(turns)} old messages are left out"
            )
        return torch.tensor([ids], device=self.model.device), turns

    def _ids(self, messages: Sequence[JsonObject]) -> list[int]:
        text = self.template.text(messages, answer=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _positions(model: Any) -> int:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**30


def _stream(tokenizer: Any, on_text: Callable[[str], None]) -> Any:
    from transformers import TextStreamer

    class Stream(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            on_text(text)

    return Stream(tokenizer, skip_prompt=True, skip_special_tokens=True)
