"""Sweeps as plain functions: cells, halving, search, leaderboard, plots."""
