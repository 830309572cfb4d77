"""The code of the user's own metrics, as part of keys."""

from tasks.artifacts.keys.code import function_version
from tasks.config import ConfigError, EvalConfig
from tasks.config.json_types import JsonObject


def own_metrics(section: EvalConfig) -> JsonObject:
    """Return the code versions of the user's own metrics, by path.

    Raises:
        ConfigError: there is no such function, or its source cannot be read.
    """
    from tasks.evaluation.custom_metrics import find, is_own

    found = {}
    for path in filter(is_own, [*(section.metrics or []), *([section.best] if section.best else [])]):
        try:
            found[path] = function_version(find(path))
        except TypeError as error:
            raise ConfigError(f"eval.metrics: {path!r}: {error}") from error
    return found
