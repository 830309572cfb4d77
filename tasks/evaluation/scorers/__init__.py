"""Predictions to metrics, one module for each kind of output."""
