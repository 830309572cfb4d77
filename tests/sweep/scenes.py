"""What processes of a sweep do in tests."""

import time
from pathlib import Path


def obey(order: str) -> int:
    """Leave the file that `order` names; if it is called `wait-…`, wait for a signal."""
    path = Path(order)
    path.touch()
    while path.name.startswith("wait"):
        time.sleep(0.05)
    return 7
