"""File names of a base and of a model artifact, apart from the code that finds bases."""

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PROMPT_ENCODER = "prompt_encoder.safetensors"  # see `tasks.models.prompts`
INSIDE = "adapter/"  # prefix of the files of a base's adapter
LIVE, LIVE_FILE = "live:", "live.json"  # of a live base of the caller's; see `tasks.models.bases.live`
MERGED = "merged.safetensors"  # the weights of a base that its adapter changed
GENERATION = "generation_config.json"  # a model's default generation settings
CARD = "README.md"
