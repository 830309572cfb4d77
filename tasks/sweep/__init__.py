"""Sweeps as plain functions: which cells there are, which go on, which is best, and how that looks."""
