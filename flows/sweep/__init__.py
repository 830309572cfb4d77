"""Sweeps: the flow, the cells in their own processes, the cost estimate, the report."""
