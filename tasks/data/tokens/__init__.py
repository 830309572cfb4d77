"""Token ids from rows: encoders, shards, the dataset for a data loader, and padded batches."""
