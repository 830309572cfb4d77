"""The subcommands of `finetune`, related ones in one file; each file adds its own arguments."""

from flows.verbs import chat, export, grid, inference, init, records, run, serving, upkeep

VERBS = (init, run, grid, inference, chat, export, records, serving, upkeep)
