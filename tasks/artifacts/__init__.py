"""Where results live: artifacts named by what they were made from, members named by their bytes.

The store knows neither torch nor Prefect. `store.py` is the door; the rest are its parts:
`ref` (what stages exchange), `key` (the name of a question), `code` (which code answers it), `record` (the one
object that makes an artifact exist), `backend` (local disk or any fsspec root), `lease` (one builder for one key),
`explain` (why a key is not there), `gc` and `scrub` (housekeeping), `formats` (Arrow, weights, JSON).
"""
