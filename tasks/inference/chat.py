"""Conversations with a trained model, one answer at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.inference.sampling import Sampling
from tasks.inference.saved_model import Saved
from tasks.models.generation import positions_of, usual_limit
from tasks.objectives import objective_of

if TYPE_CHECKING:
    import torch

NEW_TOKENS = 256


class Chat:
    """A conversation with a model. Its messages are in `messages`.

    Args:
        sampling: how answers are chosen; by default the likeliest tokens, at most 256. Its seed is that of the first.
        system: the system message. info: called with notes.

    Raises:
        ConfigError: the model was not trained on conversations, or cannot be loaded.
    """

    def __init__(
        self, saved: Saved, sampling: Sampling, system: str | None = None,
        info: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        objective = objective_of(saved.task)
        if "chat_template" not in objective.needs or objective.pipeline_tag != "text-generation":
            raise ConfigError(f"MODEL: {saved.folder} was trained for {saved.task}, not on conversations (task: sft)")
        if (sampling.num_beams or 1) > 1:
            raise ConfigError("--num-beams: an answer is shown as it is generated, which a beam search cannot do")
        from tasks.data.chat.template import Template
        from tasks.inference.predict import load_model

        self.info, self.tokenizer = info, saved.tokenizer()
        self.template, self.model = Template(self.tokenizer), load_model(saved, True, info)
        self.new_tokens = sampling.max_new_tokens or usual_limit(self.model, NEW_TOKENS)
        self.seed = sampling.seed or 0
        self.sampling = replace(
            sampling, max_new_tokens=self.new_tokens, temperature=sampling.temperature or 0.0, num_beams=1
        )
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

        from tasks.data.chat.template import ends

        turns = [*self.messages, {"role": "user", "content": text}]
        ids, turns = self._fitting(turns)
        set_seed(self.seed + self.answers)
        produced: torch.Tensor = self.model.generate(
            input_ids=ids, attention_mask=ids.new_ones(ids.shape), streamer=_stream(self.tokenizer, on_text),
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=ends(self.tokenizer, self.model.generation_config.eos_token_id),
            **self.sampling.arguments(),
        )  # fmt: skip
        answer = str(self.tokenizer.decode(produced[0, ids.shape[1] :], skip_special_tokens=True))
        self.messages = [*turns, {"role": "assistant", "content": answer}]
        self.answers += 1
        return answer

    def _fitting(self, turns: list[JsonObject]) -> "tuple[torch.Tensor, list[JsonObject]]":
        """Return the tokens of the conversation, without its oldest turns if it is too long, and the turns left."""
        import torch

        most = min(self.tokenizer.model_max_length, positions_of(self.model)) - self.new_tokens
        given = len(turns)
        while True:
            ids = self._ids([*self.system, *turns])
            if len(ids) <= most:
                break
            if len(turns) == 1:
                raise ConfigError(f"{len(ids)} tokens leave no room for an answer of {self.new_tokens}: "
                                  f"the model takes {most + self.new_tokens}")  # fmt: skip
            turns = turns[2:]
        if given > len(turns):
            self.info(
                f"the conversation is longer than the model takes; {given - len(turns)} old messages are left out"
            )
        return torch.tensor([ids], device=self.model.device), turns

    def _ids(self, messages: Sequence[JsonObject]) -> list[int]:
        text = self.template.text(messages, answer=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _stream(tokenizer: Any, on_text: Callable[[str], None]) -> Any:
    from transformers import TextStreamer

    class Stream(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            on_text(text)

    return Stream(tokenizer, skip_prompt=True, skip_special_tokens=True)
