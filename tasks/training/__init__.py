"""Training: batches, steps, and reliable checkpoints."""
