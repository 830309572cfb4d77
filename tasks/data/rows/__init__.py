"""Rows of each task: which column has which role, checks, and labels as ids."""
