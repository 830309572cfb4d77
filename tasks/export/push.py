"""Push an exported folder to the Hugging Face hub, in one commit."""

from pathlib import Path

from tasks.config.errors import ConfigError, MachineError

# Weights of an earlier export would be loaded instead of, or with, the new ones.
MESSAGE = "Upload a model fine-tuned with finetune-flow"
REPLACED = ["*.safetensors", "*.safetensors.index.json", "adapter_config.json", "*.onnx", "*.onnx.data"]


def check_possible(name: str) -> None:
    """Refuse a push that would fail, before anything is converted.

    Raises:
        ConfigError: not a valid repository name, no token, or offline.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push: {name!r} is not a valid name on the hub; give owner/name") from error
    if constants.HF_HUB_OFFLINE:
        raise ConfigError("--push: HF_HUB_OFFLINE is set; unset it, or export to a folder with -o and push that later")
    if get_token() is None:
        raise ConfigError("--push: there is no token; set HF_TOKEN in the environment to one that can write")


def push(folder: Path, name: str, private: bool, kept: str) -> str:
    """Create the repository if it does not exist, upload the folder, and return the commit's URL.

    Args:
        kept: where the export is if this fails, for the message.

    Raises:
        ConfigError: the hub refuses the name or the token. MachineError: it does not answer.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    api = HfApi()
    try:
        full = api.create_repo(name, private=private or None, exist_ok=True).repo_id
        commit = api.upload_folder(repo_id=full, folder_path=folder, delete_patterns=REPLACED, commit_message=MESSAGE)
        return commit.commit_url
    except (HTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise ConfigError(f"--push: the hub refuses {name!r} ({status}): the token cannot write there; {kept}") \
                from error  # fmt: skip
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(f"--push: {constants.ENDPOINT} did not take {name!r}: {reason}; {kept}") from error
