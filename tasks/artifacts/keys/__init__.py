"""Cache keys: canonical JSON, digests of code and files, and why a key was not found."""
