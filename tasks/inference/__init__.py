"""A finished model and new rows: how a saved folder is opened and loaded, predictions, measurements.

May import objectives and what is below them; it knows neither store nor Prefect."""
