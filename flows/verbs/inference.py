"""`finetune predict` and `evaluate`: apply a trained model to rows."""

import argparse
import json
import sys
from pathlib import Path

from flows.verbs.common import Verbs
from flows.verbs.sampling import add_sampling, sampling_of

OWN = "as the model's generation config says, usually 0"


def add(verbs: Verbs) -> None:
    """Add these verbs to the command."""
    for name, labelled, what in (
        ("predict", False, "predict with a trained model; JSON lines to stdout, or a file"),
        ("evaluate", True, "score a trained model on labelled rows"),
    ):
        sub = verbs.add_parser(name, help=what, description=what)
        sub.add_argument("model", help="a folder written by `finetune run`; with --task any transformers model")
        sub.add_argument("source", help="rows: a file, a folder, a glob, a URL, as data.train")
        sub.add_argument("overrides", nargs="*", metavar="key=value", help="override, such as data.columns.text=body")
        if not labelled:
            add_sampling(sub, temperature=OWN, top_p="1", top_k="all", max_new_tokens="64, or as in training",
                         num_beams="as in training", seed="that of the training")  # fmt: skip
        sub.add_argument("-o", "--output", help="a .parquet, .arrow, .jsonl or .csv file")
        sub.add_argument("--task", help="the task of a model that `finetune run` did not write")
        sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")
        sub.set_defaults(verb=_infer, labelled=labelled)


def _infer(options: argparse.Namespace) -> int:
    from flows import inference

    verb = inference.evaluate if options.labelled else inference.predict
    sampling = {} if options.labelled else sampling_of(options).given()
    notes: list[str] = []

    def info(line: str) -> None:
        notes.append(line)
        print(f"note: {line}", file=sys.stderr)

    done = verb(
        options.model, options.source, options.output, task=options.task, overrides=options.overrides, info=info,
        **sampling,
    )  # fmt: skip
    if options.labelled and options.json:
        print(
            json.dumps(
                {
                    "rows": done.rows,
                    "metrics": done.metrics,
                    "intervals": done.intervals,
                    "classes": done.classes,
                    "output": options.output,
                    "warnings": notes,
                }
            )
        )
    elif options.labelled:
        from flows.terminal.run import show_metrics

        show_metrics(done.metrics, done.intervals, {Path(options.source).name: done.classes} if done.classes else {})
    if options.output:
        print(f"{done.rows} rows written to {options.output}", file=sys.stderr)
    return 0
