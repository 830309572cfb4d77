"""One text (or a pair of texts) in, one of several labels out."""

from tasks.data.columns import LABEL, TEXT, TEXT_PAIR
from tasks.objectives.base import Objective

TEXT_CLASSIFICATION = Objective(
    name="text-classification",
    aliases=("sequence-classification", "sentiment-analysis", "single-label-classification"),
    roles=(TEXT, TEXT_PAIR, LABEL),
    prepare="tasks.data.classification:prepare",
    encode="tasks.data.encode:encode_text",
    collate="tasks.data.collate:PadBatch",
    auto_model="AutoModelForSequenceClassification",
    peft_task_type="SEQ_CLS",
    metrics="tasks.evaluation.classification:metrics",
    metric_names=("accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro", "matthews", "loss"),
    greater_is_better={"loss": False},
    loss_ignores_num_items=True,
    # BERT (arXiv:1810.04805, A.3): batch 16 or 32, 2e-5 to 5e-5, 2 to 4 epochs. LoRA wants about ten times the
    # learning rate of full fine-tuning (arXiv:2106.09685, table 9; Thinking Machines 2025, "LoRA Without Regret").
    defaults={
        "train.learning_rate": 3e-5,
        "train.per_device_train_batch_size": 32,
        "train.per_device_eval_batch_size": 64,
        "train.gradient_accumulation_steps": 1,
        "train.num_train_epochs": 3.0,
        "train.max_steps": -1,
        "train.weight_decay": 0.01,
        "train.warmup_steps": 0.06,
        "train.lr_scheduler_type": "linear",
        "train.max_grad_norm": 1.0,
        "train.optim": "adamw_torch_fused",
        "train.label_smoothing_factor": 0.0,
        "train.train_sampling_strategy": "group_by_length",
        "train.eval_strategy": "epoch",
        "train.logging_steps": 10,
        "data.max_length": 256,
        "peft.r": 8,
        "peft.lora_alpha": 16,
        "peft.lora_dropout": 0.05,
    },
    lora_defaults={"train.learning_rate": 3e-4},
)
