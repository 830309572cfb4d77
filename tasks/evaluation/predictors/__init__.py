"""Predictors, one module for each kind of output; all implement `tasks.evaluation.predictor.Predictor`."""
