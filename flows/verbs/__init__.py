"""The subcommands of `finetune`, related ones in one file; each file adds its own arguments."""

from flows.verbs import grid, inference, records, run, serving, upkeep

VERBS = (run, grid, inference, records, serving, upkeep)
