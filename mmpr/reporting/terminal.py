"""Print pairs in a terminal: texts made safe, differences marked, both sides next to each other.

If stdout is no terminal, the output is plain and lines are not wrapped, so that `grep` finds whole lines.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from mmpr.reporting.diff import Runs, differing_runs
from mmpr.reporting.plain_names import cut_label
from mmpr.reporting.safe_text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_UNFOLDED = 100_000  # columns of a pipe: rich breaks no line
_BESIDE = 100  # smallest width at which two sides are printed next to each other
CHOSEN, REJECTED, SOFT, STRONG = "green", "red", "dim", "bold"


def stdout_console() -> Console:
    """Return the console for results. A character that the encoding does not have is escaped and is no error."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal with the encoding ASCII cannot print "é"
        sys.stdout.reconfigure(errors="backslashreplace")
    width = None if sys.stdout.isatty() else _UNFOLDED
    return Console(highlight=False, markup=False, emoji=False, width=width)


def is_plain(console: Console) -> bool:
    """Whether the output is no terminal, so that colours and wrapping would not help."""
    return not console.is_terminal


def styled(*parts: str | tuple[str, str]) -> Text:
    """Join texts and (text, style) pairs to one safe text that is never read as markup."""
    from rich.text import Text

    text = Text()
    for part in parts:
        words, style = part if isinstance(part, tuple) else (part, "")
        text.append(visible(words), style)
    return text


def heading(console: Console, words: str) -> None:
    """Print a heading; on a terminal with enough room it gets a rule."""
    from rich.cells import cell_len
    from rich.rule import Rule

    if is_plain(console):
        console.print(styled(f"== {words}"))
    elif cell_len(words) + 2 > console.width:
        console.print(styled((words, STRONG)))
    else:
        console.print(Rule(styled((words, STRONG)), align="left", style=SOFT))


def labelled(console: Console, label: str, text: str) -> None:
    """Print a label and its text; a text of several lines is indented below the label."""
    lines = text.strip("\n").split("\n")  # other line breaks are printed as escapes
    if len(lines) == 1:
        console.print(styled((f"{label}  ", STRONG), lines[0]))
        return
    console.print(styled((label, STRONG)))
    print_indented(console, styled("\n".join(lines)))


def sides(
    console: Console,
    titles: tuple[str, str],
    texts: tuple[str, str],
    *,
    kept_chars: int | None = None,
    view: str | None = None,
) -> None:
    """Print the chosen and the rejected side with their differences marked.

    Args:
        titles: title of each side.
        texts: whole text of each side.
        kept_chars: characters of the shared prefix; the cut is marked after it. None: no cut.
        view: what the model saw when it wrote the rejected completion.
    """
    kept = kept_chars or 0
    runs = differing_runs(texts[0][kept:], texts[1][kept:])
    cuts = (None, None) if kept_chars is None else ("✂ with the image", cut_label(view))
    shown = [
        _side(texts[0][:kept], side, chosen=chosen, cut=cut)
        for chosen, side, cut in zip((True, False), runs, cuts, strict=True)
    ]
    heads = [styled((f"✓ {titles[0]}", f"bold {CHOSEN}")), styled((f"✗ {titles[1]}", f"bold {REJECTED}"))]
    if console.width >= _BESIDE and not is_plain(console):
        _beside(console, heads, shown)
        return
    for head, text in zip(heads, shown, strict=True):
        console.print(head)
        print_indented(console, text)


def _side(prefix: str, runs: Runs, *, chosen: bool, cut: str | None) -> Text:
    colour = CHOSEN if chosen else REJECTED
    text = styled((prefix, SOFT))
    if cut:
        text.append(f"[{cut}]", f"{colour} reverse")
    for differs, words in runs:
        text.append(visible(words), f"bold {colour}" if differs else "")
    return text


def _beside(console: Console, heads: list[Text], shown: list[Text]) -> None:
    from rich.table import Table

    grid = Table.grid(padding=(0, 3, 0, 0), expand=True)
    for _ in shown:
        grid.add_column(ratio=1, overflow="fold")
    grid.add_row(*heads)
    grid.add_row(*shown)
    console.print(grid)


def print_indented(console: Console, text: Text) -> None:
    """Print a text under a label or title."""
    if is_plain(console):
        for line in text.split("\n", allow_blank=True):
            console.print(styled("  ") + line)
        return
    from rich.padding import Padding

    console.print(Padding(text, (0, 0, 0, 2), expand=False))
