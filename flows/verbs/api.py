"""`finetune api`: a trained model behind an HTTP API like OpenAI's, by transformers' own server."""

import argparse
import contextlib
import signal
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from flows.verbs.common import Verbs, add_store_argument
from flows.verbs.export import TRUST, config_of, store_of

NEEDED = "openai"  # what `transformers serve` needs besides this project's own dependencies


def add(verbs: Verbs) -> None:
    """Add this verb to the command."""
    what = "answer requests as OpenAI's API does (/v1/chat/completions) with a trained model, until Ctrl-C"
    sub = verbs.add_parser("api", help=what, description=f"{what}; needs: pip install {NEEDED}")
    sub.add_argument("run", metavar="RUN", help="a folder written by `finetune run`, or a run: its name or a prefix of "
                     "it, or its config's name (the newest run)")  # fmt: skip
    sub.add_argument("overrides", nargs="*", metavar="key=value", help=f"only {TRUST}=true")
    sub.add_argument("--host", default="localhost", help="address to listen on (default %(default)s)")
    sub.add_argument("--port", type=int, default=8000, help="0: a free one (default %(default)s)")
    add_store_argument(sub)
    sub.set_defaults(verb=_api)


def _api(options: argparse.Namespace) -> int:
    from tasks.config import ConfigError
    from tasks.export.servable import servable

    config = config_of(options.overrides, "a server")
    if find_spec(NEEDED) is None:
        raise ConfigError(f"api: transformers' server needs the package {NEEDED}, which is not installed: "
                          f"pip install {NEEDED}")  # fmt: skip
    port = _free(options.host, options.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, so that the links are removed
    with tempfile.TemporaryDirectory(prefix="finetune-") as place, contextlib.suppress(KeyboardInterrupt):
        folder = servable(options.run, store_of(options), config, Path(place), _note)
        from transformers.cli.serve import Serve
        from transformers.cli.serving.model_manager import ModelManager

        # It lists the models of the hub's cache, of which a server with one model refuses all.
        listed = [{"id": folder.name, "object": "model", "created": 0, "owned_by": "finetune"}]
        ModelManager.get_gen_models = staticmethod(lambda cache_dir=None: listed)  # type: ignore[assignment]
        _note(f"POST http://{options.host}:{port}/v1/chat/completions, with model {folder.name!r}; Ctrl-C ends it")
        with contextlib.chdir(folder.parent):  # requests name the model as the server does, so briefly
            Serve(folder.name, host=options.host, port=port, trust_remote_code=config.model.trust_remote_code)
    return 0


def _free(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    Raises:
        ConfigError: it is taken, or there is no such address.
    """
    from tasks.config import ConfigError

    try:
        with socket.create_server((host, port)) as server:
            return server.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port: cannot listen on {host}:{port}: {error}") from None


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr, flush=True)
