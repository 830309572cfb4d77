"""What a person sees in a terminal: runs, plans, metrics, sweeps."""
