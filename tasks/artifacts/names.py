"""Checks of file names that are read from records, manifests and listings, which may be damaged or forged."""

from collections.abc import Iterable

LONGEST = 255  # bytes of one part, on every common file system


def is_inside(name: str) -> bool:
    """Whether `name`, below a folder, stays inside that folder: relative, without `..`, `.` or empty parts."""
    parts = name.split("/")
    return "\0" not in name and all(part not in ("", ".", "..") and _bytes(part) <= LONGEST for part in parts)


def are_files(names: Iterable[str]) -> bool:
    """Whether `names` can be the files of one folder: each stays inside, and none is the parent of another."""
    names = set(names)
    folders = {name[:at] for name in names for at, letter in enumerate(name) if letter == "/"}
    return all(map(is_inside, names)) and not names & folders


def _bytes(part: str) -> int:
    return len(part.encode(errors="surrogatepass"))
