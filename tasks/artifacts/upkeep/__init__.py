"""A store over time: what no run needs is removed, what is there is verified."""
