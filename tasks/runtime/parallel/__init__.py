"""Processes for the cells of a sweep: started, watched, limited by device, here or on a Ray or Dask cluster."""
