"""Execution of a config: preflight checks, estimates, lint, and runs.

May import everything below the stages; only flows import it."""
