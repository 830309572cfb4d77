"""The twelve stages, in order. Each has its own file; this is the only list of them."""

STAGES = (
    "s01_arguments",
    "s02_seed",
    "s03_base",
    "s04_prepare",
    "s05_tokenize",
    "s06_model",
    "s07_adapter",
    "s08_trainer",
    "s09_train",
    "s10_evaluate",
    "s11_save",
    "s12_handoff",
)
