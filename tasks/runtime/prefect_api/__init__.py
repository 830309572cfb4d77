"""What talks to Prefect: which server hears of a run, flows, deployments and workers, Cancel and signals as its states.

May import the rest of the runtime's own modules below it, and Prefect; no stage's bytes are made here."""
