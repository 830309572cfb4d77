"""LLaMA-Factory's data sets, which `dataset_info.json` describes, as sources and columns.

Fields and their defaults are those of llamafactory.data.parser (0.9.5).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.init.peers.rows import Rows, check_authors, check_keys, hub_source, mapping, put_rows
from flows.init.peers.stages import ANSWERING, KTO, PPO, PREFERENCES, TEXTS
from flows.init.peers.table import Import, names
from tasks.config import ConfigError

INFO = "dataset_info.json"
ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
ROLES = {"prompt": "prompt", "query": "input", "response": "completion", "history": "history", "system": "system",
         "tools": "tools", "messages": "messages"}  # fmt: skip
MEDIA = ("images", "videos", "audios")
AUTHORS = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system", "observation_tag": "tool"}
PAIR = {"chosen", "rejected"}


def put_datasets(found: Import, key: str, value: Any) -> None:
    """Translate the names in `dataset` or `eval_dataset`.

    Raises:
        ConfigError: a data set that is not described or cannot be translated, with what to write instead.
    """
    split = "train" if key == "dataset" else "validation"
    if found.is_fixed(f"data.{split}"):
        found.needless[key] = f"data.{split} is given on the command line"
        return
    info = _info(found)
    put_rows(found, key, split, [_rows(found, str(name), info) for name in names(value)])


def _info(found: Import) -> Mapping[str, Any] | None:
    """Return the descriptions of data sets by name; None: names are those of the hub."""
    folder = found.given.get("dataset_dir") or "data"
    if folder == "ONLINE":
        return None
    if not isinstance(folder, str) or folder.startswith("REMOTE:"):
        raise found.refusal("dataset_dir", f"{folder!r} given; valid: a folder with {INFO}, or ONLINE")
    path = Path(folder).expanduser() / INFO
    hint = ("it is relative to the folder in which LLaMA-Factory runs; run this there, or give the rows on the command "
            "line: data.train=rows.jsonl")  # fmt: skip
    try:
        info = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise found.refusal(
            "dataset_dir", f"there is no {str(path)!r}, which describes the data sets; {hint}"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return mapping(found, str(path), info)


def _rows(found: Import, name: str, info: Mapping[str, Any] | None) -> Rows:
    entry = f"dataset {name}"
    if info is None:
        return Rows(entry, [hub_source(name)], _texts(found, entry, {}), ("input",))
    if name not in info:
        raise found.refusal(entry, f"{INFO} has no such name; it has {', '.join(list(info)[:20])}")
    given = mapping(found, entry, info[name])
    read = {"columns", "tags", "formatting", "ranking", "subset", "split", "file_name", "hf_hub_url", "ms_hub_url",
            "om_hub_url", "cloud_file_name"}  # fmt: skip
    for field, value in given.items():
        if field not in read and value not in (None, "", False):
            reason = {"num_samples": "set data.max_train_samples", "folder": "all files of the data set are read"}
            found.lost[f"{entry}.{field}"] = reason.get(field, "it has no counterpart")
    source = _source(found, entry, given)
    formatting = given.get("formatting") or "alpaca"
    columns = mapping(found, entry, given.get("columns") or {})
    if media := next((kind for kind in MEDIA if columns.get(kind)), None):
        raise found.refusal(entry, f"columns.{media}: only texts can be trained on")
    unknown = sorted(columns.keys() - {*ROLES, *MEDIA, *PAIR, "kto_tag"})
    if unknown:
        raise found.refusal(
            entry, f"columns.{unknown[0]}: unknown; valid: {', '.join(ROLES)}, chosen, rejected, kto_tag"
        )
    if found.task != PPO and bool(given.get("ranking")) is not (found.task in PREFERENCES and found.task != KTO):
        what = "has" if given.get("ranking") else "has no"
        raise found.refusal(entry, f"it {what} pairs of answers (ranking), and the task is {found.task}")
    if formatting == "alpaca":
        return Rows(entry, [source], _texts(found, entry, columns), () if columns else ("input",))
    if formatting in ("sharegpt", "openai"):
        _check_tags(found, entry, given)
        return Rows(entry, [source], _conversation(found, entry, columns))
    raise found.refusal(entry, f"formatting: {formatting!r} given; translated are alpaca, sharegpt and openai")


def _source(found: Import, entry: str, given: Mapping[str, Any]) -> str:
    if url := given.get("hf_hub_url"):
        return hub_source(url, given.get("subset"), None, given.get("split"))
    if url := given.get("cloud_file_name"):
        return str(url)
    if not given.get("file_name"):
        where = next((name for name in ("script_url", "ms_hub_url", "om_hub_url") if given.get(name)), "file_name")
        why = "missing" if where == "file_name" else "cannot be read here"
        raise found.refusal(entry, f"{where}: {why}; download the rows, and give them as file_name")
    return str(Path(found.given.get("dataset_dir") or "data") / str(given["file_name"]))


def _texts(found: Import, entry: str, columns: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the columns of rows in the Alpaca format; if any is named, LLaMA-Factory reads no others."""
    by_name = {role: column for role, column in (columns or ALPACA).items() if column}
    if found.task == TEXTS:
        if by_name.get("query") and columns:
            raise found.refusal(entry, "columns.query: texts are read from one column; join both in the rows")
        return {"text": by_name.get("prompt", "instruction")}
    if found.task in PREFERENCES:
        if columns.get("query"):
            raise found.refusal(entry, "columns.query: prompts are read from one column; join both in the rows")
        return {"prompt": by_name.get("prompt", "instruction"), **_answers(found, entry, columns)}
    left = ("messages", "response") if found.task == PPO else ("messages",)  # it answers prompts itself
    result = {ROLES[name]: column for name, column in by_name.items() if name in ROLES and name not in left}
    if not columns:
        result.pop("input")
    for role in ("prompt",) if found.task == PPO else ("prompt", "completion"):
        if role not in result:
            raise found.refusal(entry, f"columns: no {'prompt' if role == 'prompt' else 'response'}")
    return result


def _answers(found: Import, entry: str, columns: Mapping[str, Any]) -> Mapping[str, str]:
    if found.task == KTO:
        if not columns.get("kto_tag"):
            raise found.refusal(entry, "columns.kto_tag: missing; the column with the label of an answer")
        return {"completion": columns.get("response") or "output", "label": columns["kto_tag"]}
    if missing := sorted(PAIR - {name for name in columns if columns[name]}):
        raise found.refusal(entry, f"columns.{missing[0]}: missing; the column with that answer")
    return {name: columns[name] for name in sorted(PAIR)}


def _conversation(found: Import, entry: str, columns: Mapping[str, Any]) -> Mapping[str, str]:
    messages = columns.get("messages") or "conversations"
    if found.task == KTO:
        raise found.refusal(entry, "formatting: convert the conversations to the columns prompt, completion and label")
    if found.task in PREFERENCES:
        return {"prompt": messages, **_answers(found, entry, columns)}
    if found.task not in ANSWERING:
        raise found.refusal(entry, f"formatting: conversations are for sft and ppo, and the task is {found.task}")
    more = {name: columns[name] for name in ("system", "tools") if columns.get(name)}
    return {"messages": messages, **more}


def _check_tags(found: Import, entry: str, given: Mapping[str, Any]) -> None:
    """Check that messages have keys and authors that are read here."""
    tags = mapping(found, entry, given.get("tags") or {})
    if tags:
        check_keys(found, entry, tags.get("role_tag", "from"), tags.get("content_tag", "value"))
    check_authors(found, entry, [(f"tags.{tag}", tags[tag], role) for tag, role in AUTHORS.items() if tags.get(tag)])
    if tags.get("function_tag") not in (None, "function_call"):
        raise found.refusal(entry, f"tags.function_tag: {tags['function_tag']!r}; calls of functions are read from "
                            "messages by 'function_call', or with tool_calls")  # fmt: skip
    if unknown := sorted(tags.keys() - {*AUTHORS, "role_tag", "content_tag", "function_tag"}):
        raise found.refusal(entry, f"tags.{unknown[0]}: unknown")
