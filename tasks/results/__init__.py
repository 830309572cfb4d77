"""What a run produces for its user: the model folder, its card and report, comparisons of runs.

May import the runtime and what is below it."""
