"""Sweeps: the flow, the cells in their own processes, the estimate of costs, the report."""
