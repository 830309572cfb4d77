"""Names of files within a folder, as a record, a manifest or a store's listing has them: they are not always ours."""

from collections.abc import Iterable

LONGEST = 255  # bytes of one part, on every common file system


def is_inside(name: str) -> bool:
    """Whether `name`, below a folder, can only be a file in that folder: relative, with no `..`, every part a name."""
    parts = name.split("/")
    return "\0" not in name and all(part not in ("", ".", "..") and _bytes(part) <= LONGEST for part in parts)


def are_files(names: Iterable[str]) -> bool:
    """Whether `names` can be the files of one folder: each inside, and none the folder of another."""
    names = set(names)
    folders = {name[:at] for name in names for at, letter in enumerate(name) if letter == "/"}
    return all(map(is_inside, names)) and not names & folders


def _bytes(part: str) -> int:
    return len(part.encode(errors="surrogatepass"))
