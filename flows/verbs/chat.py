"""`finetune chat`: a conversation with a trained model, in the terminal."""

import argparse
import sys

from flows.verbs.common import Verbs

TRUST = "model.trust_remote_code"
HELP = "/reset starts over, /exit (or Ctrl-D) ends"


def add(verbs: Verbs) -> None:
    """Add this verb to the command."""
    what = "talk to a model trained on conversations (task: sft)"
    sub = verbs.add_parser(
        "chat", help=what, description=f"{what}; {HELP}. Questions may also come from a pipe, one a line."
    )
    sub.add_argument("model", help="a folder written by `finetune run`; with --task sft any chat model")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help=f"only {TRUST}=true")
    sub.add_argument("--system", help="the system message")
    sub.add_argument("--temperature", type=float, default=0.0, help="0 (the default) takes the likeliest token; about "
                     "0.7 gives varied answers")  # fmt: skip
    sub.add_argument("--top-p", type=float, default=1.0, help="sample only from the likeliest tokens with this share "
                     "of the probability")  # fmt: skip
    sub.add_argument("--max-new-tokens", type=int, default=256, help="longest answer, in tokens (default 256)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the sampling (default 0)")
    sub.add_argument("--task", help="sft, for a model that `finetune run` did not write")
    sub.set_defaults(verb=_chat)


def _chat(options: argparse.Namespace) -> int:
    from tasks.config import ConfigError
    from tasks.inference.chat import Chat, Sampling
    from tasks.inference.predict import config_for
    from tasks.inference.saved_model import open_saved

    for name, given, valid in (("--temperature", options.temperature >= 0, "0 or more"),
                               ("--top-p", 0 < options.top_p <= 1, "above 0, at most 1"),
                               ("--max-new-tokens", options.max_new_tokens >= 1, "1 or more")):  # fmt: skip
        if not given:
            raise ConfigError(f"{name}: {getattr(options, name[2:].replace('-', '_'))} given; valid: {valid}")
    if options.top_p < 1 and not options.temperature:
        raise ConfigError("--top-p: has no effect without --temperature")
    if unknown := next((each for each in options.overrides if not each.startswith(f"{TRUST}=")), None):
        raise ConfigError(f"{unknown.partition('=')[0]}: has no effect on a conversation; valid is {TRUST}")
    config = config_for("-", options.task, options.overrides)
    sampling = Sampling(options.max_new_tokens, options.temperature, options.top_p, options.seed)
    chat = Chat(open_saved(options.model, config), sampling, options.system, _note)
    shown = sys.stdin.isatty()
    if shown:
        _note(HELP)
    while (text := _line(shown)) is not None:
        if text == "/reset":
            chat.reset()
        elif text:
            try:
                chat.ask(text, _print)
                _print("\n")
            except ConfigError as error:
                _note(str(error))
                if not shown:
                    raise
    return 0


def _line(shown: bool) -> str | None:
    """Return the next question without whitespace around it; None at the end."""
    if shown:
        print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return None if not line or line.strip() == "/exit" else line.strip()


def _print(text: str) -> None:
    print(text, end="", flush=True)


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
