"""Rows of several entries of a config: where they are, and which columns they have."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.init.peers.stages import ANSWERING
from flows.init.peers.table import Import
from tasks.config.formats import by_suffix, packing
from tasks.data.chat.formats import AUTHORS

TAG_PAIRS = (("role", "content"), ("from", "value"))  # keys of a message that `tasks.data.chat.formats` reads
FOUND_BY_NAME = {"messages": ("system", "tools"), "prompt": ("input", "system", "history", "tools")}
REWRITE = "rewrite the messages as {role: user, system, assistant or tool; content: text}"


@dataclass(frozen=True)
class Rows:
    """One entry.

    Attributes:
        entry: its name in the peer's config. sources: as items of `data.train`. columns: by role.
        optional: roles whose column the peer too finds by its name, if rows have one.
    """

    entry: str
    sources: Sequence[str]
    columns: Mapping[str, str] = field(default_factory=dict)
    optional: Collection[str] = ()


def put_rows(found: Import, key: str, split: str, entries: Sequence[Rows]) -> None:
    """Set `data.<split>` and `data.columns`.

    Raises:
        ConfigError: entries differ in columns, among themselves or from another split's.
    """
    if not entries:
        raise found.refusal(key, "an empty list; it has the rows")
    set_before = {path.removeprefix("data.columns."): str(value) for path, value in found.values.items()
                  if path.startswith("data.columns.")}  # fmt: skip
    columns = set_before if found.values.keys() & {"data.train", "data.validation"} else entries[0].columns
    for each in entries:
        if dict(each.columns) != dict(columns):
            raise found.refusal(
                key, f"{each.entry} has the columns {_shown(each.columns)}, and others have {_shown(columns)}; one run "
                "has one format; rewrite the rows of both in one format, e.g. in a column `messages`"
            )  # fmt: skip
        more = FOUND_BY_NAME["messages" if "messages" in columns else "prompt"] if found.task in ANSWERING else ()
        if also := [role for role in more if role not in columns and role not in each.optional]:
            found.differs.append(f"{each.entry}: columns named {', '.join(also)} are read too, if rows have them")
    sources = [source for each in entries for source in each.sources]
    found.put(key, f"data.{split}", sources[0] if len(sources) == 1 else sources)
    for role, column in columns.items():
        found.put(key, f"data.columns.{role}", column)


def _shown(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role}: {column}" for role, column in columns.items()) or "that are found by name"


def hub_source(name: str, config: Any = None, revision: Any = None, split: Any = None) -> str:
    """Return a data set of the hub as an item of `data.train`; `split` is train if omitted."""
    return (f"hf:{name}" + (f":{config}" if config else "") + (f"@{revision}" if revision else "")
            + f"#{split or 'train'}")  # fmt: skip


def is_hub_name(path: str) -> bool:
    """Whether a path is that of a data set of the hub: `owner/name`, or `name`, and nothing local or remote."""
    plain = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", path) and not path.startswith((".", "~"))
    return bool(plain) and not Path(path).exists() and by_suffix(path) is None and not packing(path)


def check_authors(found: Import, entry: str, names: Iterable[tuple[str, str, str]]) -> None:
    """Check that names of authors of messages mean here what they mean in the entry.

    Args:
        names: `(where, name, role)`, such as `("tags.user_tag", "human", "user")`.

    Raises:
        ConfigError: one does not.
    """
    for where, name, role in names:
        if AUTHORS.get(str(name).lower()) != role:
            known = ", ".join(author for author, meant in AUTHORS.items() if meant == role) or "no name"
            raise found.refusal(entry, f"{where}: messages of {role} are named {name!r}; read as {role} are {known}; "
                                f"{REWRITE}")  # fmt: skip


def check_keys(found: Import, entry: str, role: Any, content: Any) -> None:
    """Check that the keys of a message are ones that are read.

    Raises:
        ConfigError: they are not.
    """
    if (role, content) not in TAG_PAIRS:
        raise found.refusal(entry, f"messages have the keys {role!r} and {content!r}; read are role and content, or "
                            f"from and value; {REWRITE}")  # fmt: skip


def mapping(found: Import, entry: str, value: Any) -> Mapping[str, Any]:
    """Return a mapping of an entry. Raises ConfigError if it is not one."""
    if not isinstance(value, Mapping):
        raise found.refusal(entry, f"{value!r} given; valid: a mapping")
    return value
