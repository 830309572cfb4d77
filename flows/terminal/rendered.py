"""Show a rendered training row, with what of it is trained."""

from collections.abc import Iterator
from itertools import pairwise

from rich.console import Console
from rich.text import Text

from tasks.data.chat.preview import RenderedRow

HEAD, TAIL = 1200, 600  # characters of a longer row
MARKS, ESCAPE = ("[[", "]]"), "\x1b"


def show_rendered(sample: RenderedRow) -> None:
    """Print the row; trained tokens are coloured in a terminal, and between `[[` and `]]` elsewhere."""
    console = Console()
    coloured = console.is_terminal and not console.no_color
    how = "green" if coloured else f"between {' and '.join(MARKS)}"
    removed = f"; {sample.removed:,} more are cut off (data.max_length)" if sample.removed else ""
    print(
        f"a training row ({sample.row}): {sample.tokens:,} tokens, the {sample.trained:,} trained ones {how}{removed}"
    )
    shown = Text()
    for part, trained in _pieces(sample):
        start, end = ("", "") if coloured or not trained else MARKS
        shown.append(f"{start}{part}{end}", "green" if trained else "")
    if coloured:
        console.print(shown, soft_wrap=True, highlight=False)
    else:
        print(shown.plain)


def _pieces(sample: RenderedRow) -> Iterator[tuple[str, bool]]:
    """Yield parts of the text and whether they are trained; the middle of a long text is left out."""
    text = sample.text.replace(ESCAPE, "�")  # a terminal would obey it
    size = len(text)
    ranges = [(0, size)] if size <= HEAD + TAIL else [(0, HEAD), (size - TAIL, size)]
    edges = sorted(
        {0, size, *(edge for span in sample.spans for edge in span), *(edge for each in ranges for edge in each)}
    )
    for start, end in pairwise(edges):
        if any(first <= start and end <= last for first, last in ranges):
            yield text[start:end], any(first <= start and end <= last for first, last in sample.spans)
        elif start == HEAD:
            yield f" … {size - HEAD - TAIL:,} characters … ", False
