"""The Prefect server and what is registered on it: the API of a run, deployments, workers, cancellation, signals.

May import Prefect and the other modules of `tasks.runtime`; nothing here is part of a stage's result.
"""
