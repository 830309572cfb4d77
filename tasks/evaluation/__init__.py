"""Evaluation: predictions per row, and metrics from them."""
