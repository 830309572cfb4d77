"""What a person gets of a run: the finished model as a folder, its card and report, comparisons.

May import the runtime and what is below it."""
