"""File formats of an artifact's members: Arrow for rows, safetensors for weights, canonical JSON for the rest."""
