"""The one room that knows Prefect's machinery: what a stage is, where a run stands, which server hears of it."""
