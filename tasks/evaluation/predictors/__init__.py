"""What a model says of each row, one module for each kind of output; all follow `tasks.evaluation.predictor`."""
