"""Translates configs of other tools (axolotl, LLaMA-Factory) into ours: tables of their keys, one rule for each."""
