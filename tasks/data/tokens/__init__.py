"""Rows to token ids, shards of them, the dataset a loader reads, and padded batches."""
