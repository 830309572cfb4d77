"""The sections of a config, one per file: fields, their meaning and limits."""
