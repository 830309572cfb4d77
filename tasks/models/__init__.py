"""Models: find a base, load it, add heads and adapters."""
