"""Arrow tables as files: deterministic bytes, memory mapping, spilling to disk, export; normalised types."""
