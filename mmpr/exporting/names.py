"""File names from source names, which are anyone's: `../x`, 4,000 characters, an emoji, `VQA` beside `vqa`."""

from __future__ import annotations

import hashlib
import re

_LONGEST = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class SafeNames:
    """Gives every (source, kind) a file name of its own, the same one each time for the same order of questions."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()

    def of(self, source: str, kind: str) -> str:
        """`<source>_<kind>` of letters, digits, dots, dashes and underscores.

        A source that had to be changed, or whose name another one has (case ignored, as some disks do), carries a part
        of its hash.
        """
        if (source, kind) not in self._given:
            name = next(name for name in _candidates(source, kind) if name.casefold() not in self._taken)
            self._given[source, kind] = name
            self._taken.add(name.casefold())
        return self._given[source, kind]


def _candidates(source: str, kind: str) -> list[str]:
    safe = _UNSAFE.sub("_", source).strip("._-")[:_LONGEST] or "source"
    sha256 = hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()
    marked = [f"{safe}-{sha256[:8]}_{kind}", f"{safe}-{sha256}_{kind}"]
    return [f"{safe}_{kind}", *marked] if safe == source else marked
