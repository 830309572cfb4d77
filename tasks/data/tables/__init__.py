"""Arrow tables as files: deterministic bytes, memory mapping, spilling to disk, export; normalized types."""
