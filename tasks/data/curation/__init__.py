"""Which rows are kept, and on which side: checks, repeats and leaks, near duplicates, splits, a preview."""
