"""Maintenance of a store: garbage collection and verification."""
