"""What happens between steps: saving, stopping, progress, diagnostics."""
