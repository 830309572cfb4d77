"""The twelve stages, in order, and those that only some tasks have. Each has its own file; these are the only lists of
them."""

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
OPTIONAL_STAGES = (
    "s03b_reward_model",
    "s04b_teacher",
    "s07b_reference",
    "s07c_held_out",
    "s07d_start",
    "s07e_guarded",
    "s08b_teacher_answers",
    "s08c_fisher",
    "s08d_rehearsed",
    "s10b_guard",
)
