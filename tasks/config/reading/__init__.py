"""From YAML, mappings and overrides to a config: names, nearest names, problems in plain words, layers of defaults."""
