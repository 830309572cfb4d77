"""Trainer callbacks: saving, stopping, progress, diagnostics."""
