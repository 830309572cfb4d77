"""How a module learns: rows to batches, batches to steps, steps to checkpoints that can be trusted."""
