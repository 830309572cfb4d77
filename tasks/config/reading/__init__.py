"""Reads configs from YAML, mappings and overrides: old and similar names, error messages, layers of defaults."""
