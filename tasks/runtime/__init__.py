"""The runtime of stages and runs: inputs and keys, builds, run records, progress, logs, secrets.

Of these modules, `stage`, `secrets`, `log` and `progress` call Prefect, as do `prefect_api/` and `parallel/`; outside
this package, `tasks.results.publish`, `tasks.execution.execute` and the flows do. An import contract in pyproject.toml
lists them.
"""
