"""The subcommands of `finetune`, related ones in one file; each file adds its own arguments."""

from flows.verbs import align, api, chat, export, grid, inference, init, records, run, serving, upkeep

VERBS = (init, run, grid, align, inference, chat, api, export, records, serving, upkeep)
