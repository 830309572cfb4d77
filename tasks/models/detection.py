"""Replaced-token detection (ELECTRA, arXiv:2003.10555): a generator fills in masked tokens, a discriminator detects
which tokens were replaced. One module, so that one Trainer trains, saves and resumes both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.utils.generic import ModelOutput

from tasks.models.bases.files import MERGED
from tasks.models.sharing import absent, write_once

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

IGNORED = -100
WEIGHT = 50.0
PARTS = ("generator", "discriminator")
WHOLE, NEW = "model.safetensors", "new.safetensors"


@dataclass
class Detected(ModelOutput):
    """The output of a forward pass.

    Attributes:
        loss: generator's + 50 × discriminator's. logits: (rows, tokens), positive if a token is predicted as replaced.
        generator_loss, discriminator_loss: means over masked tokens, and over all tokens except padding.
        masked_logits: (masked tokens, vocabulary). replaced: (rows, tokens), 1 where a token was replaced.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    generator_loss: torch.Tensor | None = None
    discriminator_loss: torch.Tensor | None = None
    masked_logits: torch.Tensor | None = None
    replaced: torch.Tensor | None = None


class ReplacedTokenDetection(PreTrainedModel):
    """Generator and discriminator made from one base, with shared token embeddings."""

    _supports_sdpa = True
    main_input_name = "input_ids"
    base_model_prefix = ""

    def __init__(self, generator: PreTrainedModel, discriminator: PreTrainedModel) -> None:
        super().__init__(discriminator.config)
        self.generator, self.discriminator = generator, discriminator
        discriminator.set_input_embeddings(generator.get_input_embeddings())  # type: ignore[arg-type]

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        draws: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
        **_: object,
    ) -> Detected:
        """Run both models on `input_ids` with masks, `labels` with the masked tokens (-100 elsewhere), `draws` (32
        random bits per token, to sample from the generator) and `weights` of the two losses (default 1; see `terms`).
        """
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        masked = labels.ne(IGNORED)
        guessed = self.generator(input_ids=input_ids, attention_mask=attention_mask, **segments).logits[masked].float()
        generator_loss = nn.functional.cross_entropy(guessed, labels[masked])
        sampled = sample(guessed.detach(), draws[masked])
        seen = input_ids.clone()
        seen[masked] = sampled
        replaced = torch.zeros_like(labels)
        replaced[masked] = (sampled != labels[masked]).long()
        logits = self.discriminator(input_ids=seen, attention_mask=attention_mask, **segments).logits
        logits = logits.reshape(seen.shape)
        real = attention_mask.bool()
        detected = nn.functional.binary_cross_entropy_with_logits(logits[real].float(), replaced[real].float())
        first, second = (1.0, 1.0) if weights is None else weights
        return Detected(
            loss=first * generator_loss + second * WEIGHT * detected, logits=logits, generator_loss=generator_loss,
            discriminator_loss=detected, masked_logits=guessed, replaced=replaced,
        )  # fmt: skip

    @staticmethod
    def terms(batch: Mapping[str, torch.Tensor]) -> tuple[int, int]:
        """Return the number of tokens over which each of the two losses of a batch is averaged."""
        return int(batch["labels"].ne(IGNORED).sum()), int(batch["attention_mask"].sum())

    def parts(self) -> list[tuple[str, PreTrainedModel]]:
        """Return both models with the prefixes of their parameters' names."""
        return [(f"{name}.", getattr(self, name)) for name in PARTS]

    def heads_among(self, new: Iterable[str]) -> list[str]:
        """Return the modules of parameters that the base lacks, outermost ones only."""
        parents = {name.rpartition(".")[0] for name in new}
        return sorted(name for name in parents if not any(name.startswith(f"{other}.") for other in parents))

    def save_pretrained(  # type: ignore[override]
        self, save_directory: Any, state_dict: Mapping[str, Any] | None = None, **_: object
    ) -> None:
        """Write both as one file; shared parameters once."""
        folder = Path(save_directory)
        write_once(state_dict or self.state_dict(), folder / WHOLE)
        self.config.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: Any, *, output_loading_info: bool = False, **arguments: Any) -> Any:  # type: ignore[override]
        """Load from a base (heads are initialized), from a base with `new.safetensors`, or from a saved model."""
        folder = Path(folder)
        arguments = {name: value for name, value in arguments.items() if name not in ("ignore_mismatched_sizes",)}
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != "electra":
            config.num_labels = 1
        saved = folder / WHOLE
        if saved.exists() and any(name.startswith("generator.") for name in _names(saved)):
            dtype = arguments.get("dtype", torch.float32)
            made = (
                {"attn_implementation": arguments["attn_implementation"]} if "attn_implementation" in arguments else {}
            )
            parts = [kind.from_config(config, dtype=dtype, **made) for kind in _kinds(config)]
            model = cls(*parts)
            missing = model.load_state_dict(load_file(saved), strict=False).missing_keys
        else:
            loaded = [
                kind.from_pretrained(folder, config=config, output_loading_info=True, **arguments)
                for kind in _kinds(config)
            ]
            model = cls(*(part for part, _ in loaded))
            missing = [f"{name}.{key}" for name, (_, info) in zip(PARTS, loaded, strict=True)
                       for key in info["missing_keys"]]  # fmt: skip
            for own in (MERGED, NEW):
                if (folder / own).exists():
                    new = load_file(folder / own)
                    model.load_state_dict(new, strict=False)
                    missing = [name for name in missing if name not in new]
        missing = absent(model, missing)
        info = {"missing_keys": set(missing), "mismatched_keys": set(), "unexpected_keys": set()}
        return (model, info) if output_loading_info else model

    @classmethod
    def from_config(cls, config: "PreTrainedConfig", **arguments: Any) -> "ReplacedTokenDetection":
        """Return both models, newly initialized."""
        if config.model_type != "electra":
            config.num_labels = 1
        return cls(*(kind.from_config(config, **arguments) for kind in _kinds(config)))

    @classmethod
    def from_parts(cls, folder: Path, **arguments: Any) -> "ReplacedTokenDetection":
        """Load from the two folders that `export` wrote."""
        config = AutoConfig.from_pretrained(folder / "discriminator", local_files_only=True)
        kinds = zip(_kinds(config), PARTS, strict=True)
        return cls(*(kind.from_pretrained(folder / name, local_files_only=True, **arguments) for kind, name in kinds))

    @staticmethod
    def discriminator_from(folder: Path, **arguments: Any) -> PreTrainedModel:
        """Load only the discriminator that `export` wrote."""
        part = folder / PARTS[1]
        config = AutoConfig.from_pretrained(part, local_files_only=True)
        return _kinds(config)[1].from_pretrained(part, local_files_only=True, **arguments)

    def export(self, out: Path) -> None:
        """Write `generator` and `discriminator` as separate models."""
        for name in PARTS:
            getattr(self, name).save_pretrained(out / name)


def sample(logits: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Sample one token per row of logits by inverse transform sampling with its draw (0 … 2³² - 1).

    Probabilities are summed as integers of 2⁻³⁰, so that every device gets the same sum; less likely tokens are never
    drawn.
    """
    reached = (logits.float().softmax(-1) * 2**30).long().cumsum(-1)
    return torch.searchsorted(reached, (draws[:, None] * reached[:, -1:]) >> 32, right=True).squeeze(1)


def _kinds(config: "PreTrainedConfig") -> tuple[Any, Any]:
    detector = AutoModelForPreTraining if config.model_type == "electra" else AutoModelForTokenClassification
    return AutoModelForMaskedLM, detector


def _names(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return list(file.keys())
