"""Inference: open and load a saved model, predict and evaluate on new rows.

May import objectives and what is below them; uses neither store nor Prefect."""
