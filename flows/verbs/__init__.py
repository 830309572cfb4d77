"""The verbs of the command, a file for those that belong together; each adds its own arguments."""

from flows.verbs import asking, grid, pipeline, records, serving, upkeep

VERBS = (pipeline, grid, asking, records, serving, upkeep)
