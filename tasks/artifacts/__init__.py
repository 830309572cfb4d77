"""The artifact store: artifacts are addressed by a key of their inputs, their files by the digest of their bytes.

Imports neither torch nor Prefect. `store` is the interface; `artifact` and `ref` are how stages read and exchange
artifacts; `record` and `runs` are the JSON records of artifacts and of runs; `backend` is the local disk or any fsspec
root; `lease` lets one process build a key at a time; `names` checks file names; `scratch` is for temporary folders.
Packages: `keys` (canonical JSON, digests of code and files, why a key is missing), `formats` (weights, JSON,
manifests), `upkeep` (garbage collection, verification).
"""
