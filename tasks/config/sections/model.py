"""`model`: which base model a run starts from, and how it is loaded."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from tasks.config.sections.section import PathText, Section


class ModelConfig(Section):
    """The base model."""

    bare: ClassVar[str] = "name"

    name: PathText = Field(
        min_length=1,
        description="The base model: a local folder, a hub id, or package:DISTRIBUTION/PATH for weights that "
        "an installed Python package contains. A GGUF file is converted once. An adapter's folder is merged into the "
        "base it names.",
    )
    revision: str | None = Field(
        default=None,
        description="Branch, tag or commit of a hub model; the commit it is gets recorded. Omit: its newest.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Data type of the loaded weights. auto: float32 unless quantized."
    )
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = Field(
        default=None, description="Attention implementation. Omit: the best one that model and machine support."
    )
    chat_template: PathText | None = Field(
        default=None,
        description="Chat template of conversations: chatml, or a file with a Jinja template. Omit: the model's own.",
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Only for models whose code you have read.",
    )
    token_secret: str | None = Field(
        default=None,
        description="NAME of the environment variable that holds the hub token; never the token. Omit: HF_TOKEN.",
    )

    @field_validator("name")
    @classmethod
    def _package_has_path(cls, name: str) -> str:
        if name.startswith("package:") and not re.fullmatch(r"package:[\w.-]+/.+", name):
            raise ValueError(f"'{name}' given; valid: package:<distribution>/<path inside it>")
        return name

    @field_validator("token_secret")
    @classmethod
    def _is_a_name(cls, secret: str | None) -> str | None:
        # The message never repeats the value: it may be the token itself.
        if secret and (secret.startswith("hf_") or not re.fullmatch(r"[A-Za-z_]\w*", secret)):
            raise ValueError(
                "this looks like a token, not the name of an environment variable; put the token into an "
                "environment variable and write that variable's name here, e.g. HF_TOKEN"
            )
        return secret
