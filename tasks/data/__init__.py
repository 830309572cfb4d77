"""Data from sources to batches: packages `sources`, `rows`, `curation`, `tokens`, and `tables` (Arrow files)."""
