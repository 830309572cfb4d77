"""Entries of axolotl's `datasets`, `test_datasets` and `pretraining_dataset` as sources and columns.

Types and their columns are those of axolotl's prompt_strategies (0.13).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flows.init.peers.rows import Rows, check_authors, check_keys, hub_source, is_hub_name, mapping, put_rows
from flows.init.peers.stages import DPO, KTO, PREFERENCES, REWARD, REWARDED, SFT, TEXTS
from flows.init.peers.table import Import, names
from tasks.config.formats import by_suffix
from tasks.objectives import objectives

ALPACA = {"prompt": "instruction", "completion": "output"}  # `input` is found by name, where rows have it
# By the first part of `type` (alpaca, alpaca.load_no_prompt): columns by role.
INSTRUCTIONS: Mapping[str, Mapping[str, str]] = {
    "alpaca": ALPACA,
    "alpaca_instruct": ALPACA,
    "alpaca_chat": ALPACA,
    "alpaca_chat.load_qa": {"prompt": "question", "completion": "answer"},
    "alpaca_chat.load_camel_ai": {"prompt": "message_1", "completion": "message_2"},
    "alpaca_w_system": {"system": "system", **ALPACA},
    "gpteacher": {"prompt": "instruction", "completion": "response"},
    "oasst": {"prompt": "INSTRUCTION", "completion": "RESPONSE"},
    "metharme": {"prompt": "prompt", "completion": "generation"},
}
CONVERSATIONS = {"chat_template": "messages", "sharegpt": "conversations"}  # with the column by default
CONTINUED = ("completion", "pretrain")
CHOICE = {"chosen": "chosen", "rejected": "rejected"}
ANSWER = {"completion": "completion", "label": "label"}
# By the last part of `type` (chatml.intel, llama3.intel), and the task.
PAIRS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    DPO: {
        "intel": {"prompt": "question", **CHOICE},
        "icr": {"prompt": "input", **CHOICE},
        "prompt_pairs": {"prompt": "prompt", **CHOICE},
        "ultra": {"prompt": "prompt", **CHOICE},
    },
    KTO: {
        "argilla": {"prompt": "instruction", **ANSWER},
        "intel": {"prompt": "question", **ANSWER},
        "prompt_pairs": {"prompt": "prompt", **ANSWER},
        "ultra": {"prompt": "prompt", **ANSWER},
    },
    REWARD: {"chat_template": {"prompt": "input", **CHOICE}, "icr": {"prompt": "input", **CHOICE}},
}
CONVERT = {
    "input_output": "convert each row's segments: those with label false become `prompt`, the last with label true "
    "`completion`",
    "stepwise_supervised": "there is no task that rewards steps",
}
BUILDERS = ("json", "csv", "parquet", "arrow", "text")  # names that stand for a format, with `data_files`
# Fields of an entry without a counterpart, and those for which nothing has to be set.
LOST: Mapping[str, str] = {
    "shards": "set data.max_train_samples to train on fewer rows",
    "shards_idx": "set data.max_train_samples to train on fewer rows",
    "train_on_eos": "the end token of each trained answer is trained",
    "train_on_eot": "the end token of each trained answer is trained",
    "drop_system_message": "remove system messages from the rows",
    "message_field_training": "data.train_on chooses turns by their author only",
    "message_field_training_detail": "data.train_on chooses turns by their author only",
    "trust_remote_code": "code of data sets is not run",
    "field_thinking": "`reasoning_content` of a message is passed to the template",
    "template_thinking_key": "`reasoning_content` of a message is passed to the template",
    "split_thinking": "write the reasoning of a message in its `reasoning_content`",
}
NEEDLESS = {"preprocess_shards": "rows are prepared in pieces", "ds_type": "the format follows from the file name"}


def tasks_of(entries: Sequence[Any]) -> set[str]:
    """Return the tasks of entries whose types say it: conversations, or texts to continue."""
    kinds = {str(each.get("type")) for each in entries if isinstance(each, Mapping)}
    return {TEXTS if kind.split(":")[0] in CONTINUED else SFT for kind in kinds}


def put_datasets(found: Import, key: str, value: Any) -> None:
    """Translate the entries of `datasets` or `test_datasets`.

    Raises:
        ConfigError: an entry that cannot be translated, with what to write instead.
    """
    split = "validation" if key == "test_datasets" else "train"
    entries = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(entries, list):
        raise found.refusal(key, f"{value!r} given; valid: a list of entries with path and type")
    if split == "train" and found.is_fixed("data.train"):
        found.needless[key] = "data.train is given on the command line"
        return
    if f"data.{split}" in found.values:
        raise found.refusal(key, f"given beside {found.keys[f'data.{split}']}; keep one")
    put_rows(found, key, split, [_rows(found, f"{key}[{at}]", each) for at, each in enumerate(entries)])


def _rows(found: Import, entry: str, given: Any) -> Rows:
    given = {"path": given} if isinstance(given, str) else mapping(found, entry, given)
    read = {"path", "type", "name", "split", "revision", "data_files"}
    sources = _sources(found, entry, given)
    columns, more = _columns(found, entry, given)
    for name, value in given.items():
        key = f"{entry}.{name}"
        if name in read | more:
            continue
        if value is None or value in (False, "", [], {}):
            found.empty.append(key)
        elif name in NEEDLESS:
            found.needless[key] = NEEDLESS[name]
        elif name in ("train_on_eos", "train_on_eot") and value == "turn":
            found.needless[key] = LOST[name]
        elif name == "roles_to_train":
            roles_to_train(found, key, value)
        elif name in ("chat_template", "chat_template_jinja"):
            chat_template(found, key, value)
        else:
            found.lost[key] = LOST.get(name, "it has no counterpart")
    return Rows(entry, sources, columns, _optional(given.get("type"), columns))


def _optional(kind: Any, columns: Mapping[str, str]) -> Sequence[str]:
    """Return roles whose column axolotl finds by its name, if rows have one."""
    if "messages" in columns:
        return ("tools",)
    if isinstance(kind, Mapping):
        return "input", "system"
    return ("input",) if columns.get("prompt") == "instruction" else ()


def _sources(found: Import, entry: str, given: Mapping[str, Any]) -> Sequence[str]:
    path, files = str(given.get("path") or ""), given.get("data_files")
    if not path:
        raise found.refusal(entry, "path: missing; the rows of this entry")
    if files and not (path in BUILDERS or not is_hub_name(path)):
        raise found.refusal(entry, f"data_files: files of a data set of the hub cannot be chosen; download {files!r} "
                            "and give them as path")  # fmt: skip
    if files:
        return [str(each) for each in names(files)]
    if is_hub_name(path):
        if isinstance(given.get("name"), list):
            raise found.refusal(entry, "name: several configurations; write an entry for each")
        return [hub_source(path, given.get("name"), given.get("revision"), given.get("split"))]
    if str(given.get("split") or "train") != "train":
        raise found.refusal(entry, f"split: {given['split']!r} of a file; give the file of that split as path, or set "
                            "data.max_train_samples")  # fmt: skip
    if given.get("ds_type") and by_suffix(path) is None and "." in path.rpartition("/")[2]:
        found.differs.append(f"{entry}.ds_type: formats follow from file names; set data.format if {path} is not read")
    return [path]


def _columns(found: Import, entry: str, given: Mapping[str, Any]) -> tuple[Mapping[str, str], set[str]]:
    """Return the columns by role, and the fields that say them."""
    kind = given.get("type")
    if found.task in PREFERENCES:
        return _preference(found, entry, given)
    if found.task in REWARDED:
        return _prompts(found, entry, given)
    if isinstance(kind, Mapping):
        return _custom(found, entry, kind), set()
    kind = str(kind or ("completion" if found.task == TEXTS else ""))
    base = kind.split(":")[0].removesuffix(".load")
    if base in CONTINUED:
        column = given.get("field") or given.get("text_column") or "text"
        return {"text": column}, {"field", "text_column"}
    if base in CONVERSATIONS:
        return _conversation(found, entry, given, CONVERSATIONS[base])
    columns = INSTRUCTIONS.get(base) or INSTRUCTIONS.get(base.partition(".")[0])
    if columns is None:
        why = CONVERT.get(base, "convert the rows: a column `messages`, or `prompt` and `completion`")
        known = ", ".join([*INSTRUCTIONS, *CONVERSATIONS, *CONTINUED])
        raise found.refusal(entry, f"type: {kind or 'missing'} is not translated; {why}; translated are {known}")
    found.differs.append(f"{entry}.type: {kind}: rows are rendered by the model's chat template here, not by axolotl's "
                         "prompt of that name; for a base without one set model.chat_template")  # fmt: skip
    return columns, set()


def _custom(found: Import, entry: str, kind: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the columns of a type that is written out."""
    fields = {"prompt": "field_instruction", "input": "field_input", "completion": "field_output",
              "system": "field_system"}  # fmt: skip
    columns = {role: str(kind[name]) for role, name in fields.items() if kind.get(name)}
    for name, value in kind.items():
        key = f"{entry}.type.{name}"
        if not value:
            found.empty.append(key)
        elif name not in fields.values():
            found.lost[key] = "write this format as a chat template in a file, for model.chat_template"
    return {"prompt": "instruction", "completion": "output", **columns}


def _conversation(
    found: Import, entry: str, given: Mapping[str, Any], usual: str
) -> tuple[Mapping[str, str], set[str]]:
    """Return the columns of conversations, whose messages must have keys and authors that are read here."""
    pair = mapping(found, entry, given.get("message_property_mappings") or {})
    role = pair.get("role") or given.get("message_field_role")
    content = pair.get("content") or given.get("message_field_content")
    if role or content:
        check_keys(found, entry, role or "role", content or "content")
    for name, key in pair.items():
        if name not in ("role", "content") and name != key:
            raise found.refusal(entry, f"message_property_mappings.{name}: {key!r}; rename the key in the messages to "
                                f"{name!r}")  # fmt: skip
    roles = mapping(found, entry, given.get("roles") or {})
    check_authors(found, entry, [(f"roles.{meant}", name, str(meant)) for meant, authors in roles.items()
                                 for name in names(authors)])  # fmt: skip
    columns = {"messages": given.get("field_messages") or usual}
    if given.get("field_tools"):
        columns["tools"] = given["field_tools"]
    read = {"field_messages", "field_tools", "message_property_mappings", "message_field_role",
            "message_field_content", "roles"}  # fmt: skip
    return columns, read


def _preference(found: Import, entry: str, given: Mapping[str, Any]) -> tuple[Mapping[str, str], set[str]]:
    """Return the columns of two answers, or of an answer and its label."""
    kind, roles = given.get("type"), ANSWER if found.task == KTO else CHOICE
    if isinstance(kind, Mapping):
        fields = {"prompt": "prompt", **roles}
        formats = [name for name in kind if name.endswith("_format") and kind[name]]
        if formats:
            raise found.refusal(entry, f"type.{formats[0]}: rewrite the column as it should be read")
        return {role: str(kind.get(f"field_{role}") or usual) for role, usual in fields.items()}, set()
    known, last = PAIRS[found.task], str(kind or "").rpartition(".")[2]
    if last in known:
        if "system" not in {role.name for role in objectives()[found.task].roles}:
            found.differs.append(
                f"{entry}.type: {kind}: a column `system` is not read; begin prompts with that message"
            )
        return known[last], set()
    if found.task == DPO and kind in ("chat_template", "chat_template.default"):
        columns, read = _conversation(found, entry, given, "messages")
        fields = {role: str(given.get(f"field_{role}") or role) for role in CHOICE}
        return {"prompt": columns["messages"], **fields}, read | {f"field_{role}" for role in CHOICE}
    also = ["chat_template.default"] if found.task == DPO else []
    raise found.refusal(entry, f"type: {kind or 'missing'} is not translated; convert the rows to the columns prompt, "
                        f"{' and '.join(roles)}; translated are {', '.join([*known, *also])}")  # fmt: skip


def _prompts(found: Import, entry: str, given: Mapping[str, Any]) -> tuple[Mapping[str, str], set[str]]:
    """Return the columns of prompts: of rows as they are, or of conversations."""
    kind = str(given.get("type") or "")
    if not kind:
        return {"prompt": "prompt"}, set()
    if kind in CONVERSATIONS:
        return _conversation(found, entry, given, CONVERSATIONS[kind])
    raise found.refusal(entry, f"type: {kind} is a function that makes prompts of rows; call it on the rows, write the "
                        "result as JSON lines with a column `prompt` and those that reward functions need, and add "
                        "data.train=FILE to the command")  # fmt: skip


def roles_to_train(found: Import, key: str, value: Any) -> None:
    """Whose turns are trained."""
    authors = {str(each).lower() for each in (value if isinstance(value, list) else [value])}
    if authors <= {"assistant", "gpt", "model"}:
        found.needless[key] = "the turns of the assistant are trained"
    else:
        found.lost[key] = "data.train_on: all trains every token, of all turns; the turns of the assistant are trained"


def chat_template(found: Import, key: str, value: Any) -> None:
    """The template by name: the model's own, ChatML, or one of axolotl's; or the text or file of one."""
    if key.endswith("chat_template_jinja"):
        if "{" in str(value) or "\n" in str(value):
            found.lost[key] = "save the template as a file, and set model.chat_template to it"
        else:
            found.put(key, "model.chat_template", value)
    elif value == "chatml":
        found.put(key, "model.chat_template", "chatml")
    elif value == "jinja":
        found.needless[key] = "model.chat_template is a file"
    elif str(value).startswith("tokenizer_default"):
        found.needless[key] = "the model's own chat template is used"
    else:
        found.lost[key] = "the model's own chat template is used; for another, set model.chat_template to a file of it"
