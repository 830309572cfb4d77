"""How an artifact's members are written: Arrow for rows, safetensors for weights, canonical JSON for the rest."""
