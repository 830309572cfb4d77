"""Scorers: metrics from predictions, one module for each kind of output."""
