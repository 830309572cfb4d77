"""Checks and selection of rows: duplicates, leakage, near-duplicates, splits, a preview."""
