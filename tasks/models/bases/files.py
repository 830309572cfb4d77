"""The files a base and a model artifact are made of, by name: what reads them need not know how a base is found."""

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
INSIDE = "adapter/"  # where a base's adapter stands among its files
LIVE, LIVE_FILE = "live:", "live.json"  # of a base that is an object of the caller's; see `tasks.models.bases.live`
MERGED = "merged.safetensors"  # what of a base its adapter has changed
GENERATION = "generation_config.json"  # what a model generates with where nobody says otherwise
