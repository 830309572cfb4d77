"""The verbs of the command, a file for those that belong together; each adds its own arguments."""

from flows.verbs import grid, inference, records, run, serving, upkeep

VERBS = (run, grid, inference, records, serving, upkeep)
