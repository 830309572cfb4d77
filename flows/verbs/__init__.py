"""The subcommands of `finetune`, related ones in one file; each file adds its own arguments."""

from flows.verbs import export, grid, inference, init, records, run, serving, upkeep

VERBS = (init, run, grid, inference, export, records, serving, upkeep)
