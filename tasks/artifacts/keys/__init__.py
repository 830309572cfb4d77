"""Keys: canonical JSON, the code and files it speaks of, and why a key was not found."""
