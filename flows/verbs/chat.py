"""`finetune chat`: a conversation with a trained model, in the terminal."""

import argparse
import sys

from flows.verbs.common import Verbs
from flows.verbs.sampling import add_sampling, sampling_of

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
    add_sampling(sub, temperature="0", top_p="1", top_k="all", max_new_tokens="256", seed="0")
    sub.add_argument("--task", help="sft, for a model that `finetune run` did not write")
    sub.set_defaults(verb=_chat)


def _chat(options: argparse.Namespace) -> int:
    from tasks.config import ConfigError
    from tasks.inference.chat import Chat
    from tasks.inference.predict import config_for
    from tasks.inference.saved_model import open_saved

    sampling = sampling_of(options)
    if unknown := next((each for each in options.overrides if not each.startswith(f"{TRUST}=")), None):
        raise ConfigError(f"{unknown.partition('=')[0]}: has no effect on a conversation; valid is {TRUST}")
    config = config_for("-", options.task, options.overrides)
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
