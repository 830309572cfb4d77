"""Keys: canonical JSON, digests of the code and files in it, and why a key was not found."""
