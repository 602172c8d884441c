"""Exclude the images and questions of a benchmark from a run by their hashes.

Two images are the same if their files are equal byte for byte, or if their prints are close. A print is 256 bits of
coarse shape (pHash: which low cosine frequencies are above their median); scaling and JPEG hardly change it. Among
634,050 pairs of different images (pocket world, pages of text, bar charts, blurs) the closest differ in 40 bits. All
copies at JPEG quality 75 or 30, at half or at 1.5 times the size, differ in at most 32 bits, and so do 99.8 % of the
copies at half size and quality 60. Measured by `python -m benchmarks.image_prints`.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from mmpr.image_tags import without_tags
from mmpr.prompts import strip_suffix
from mmpr.run.folder import EXCLUDE, RunFolder
from mmpr.run.parquet_reader import named_errors
from mmpr.types import Question, Reason, Skip, Stage, TableRow

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

MOST_DIFFERENT_BITS = 32
_SIDE, _FREQUENCIES = 32, 16
_FLAT_LEVELS = 8  # an image of one colour has no shape: the prints of all such images would be close
_SCHEMA = pa.schema(
    [("place", pa.string()), ("original_sha256", pa.string()), ("print", pa.binary()), ("question", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One image or one question of an exclude list; `place` is its file and line, for messages."""

    place: str
    original_sha256: str | None = None
    print: bytes | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What a run shares with the list: images by sha256 and questions by print, each with the detail of its skip."""

    images: dict[str, str] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)

    def add_image(self, sha256: str, detail: str) -> None:
        """Add an image; of two details for the same pixels the smallest stays, so that the order does not matter."""
        self.images[sha256] = min(detail, self.images.get(sha256, detail))

    def skip(self, question: Question, images: Sequence[str]) -> Skip | None:
        """Return the skip of a question if its text or one of its images (sha256) is excluded."""
        detail = next((self.images[sha256] for sha256 in images if sha256 in self.images), None)
        if detail is None and self.questions:
            detail = self.questions.get(question_print(question.text) or "")
        return Skip(question.id, Stage.SELECT, Reason.EXCLUDED, detail) if detail else None


class ExcludeList:
    """The exclude list of a run folder, indexed for lookups."""

    def __init__(self, listed: Iterable[Listed]) -> None:
        import numpy as np

        self._files: dict[str, str] = {}
        self._questions: dict[str, str] = {}
        prints: list[bytes] = []
        self._places: list[str] = []
        for one in listed:
            if one.original_sha256:
                self._files.setdefault(one.original_sha256, one.place)
            if one.print:
                prints.append(one.print)
                self._places.append(one.place)
            if one.question:
                self._questions.setdefault(one.question, one.place)
        self._prints = np.frombuffer(b"".join(prints), np.uint64).reshape(-1, _FREQUENCIES**2 // 64)

    @property
    def has_images(self) -> bool:
        """Whether a lookup needs the images' bytes."""
        return bool(self._files)

    def image(self, original_sha256: str, encoded: bytes) -> str | None:
        """Return the detail for the skip of a listed image; None if the image is not listed."""
        import numpy as np

        if place := self._files.get(original_sha256):
            return f"its image is {place}, byte for byte"
        found = image_print(opened(encoded)) if self._places else None
        if found is None:
            return None
        bits = np.bitwise_count(self._prints ^ np.frombuffer(found, np.uint64)).sum(axis=1)
        # one vectorised comparison with all prints of the list
        nearest = int(bits.argmin())
        if bits[nearest] > MOST_DIFFERENT_BITS:
            return None
        return f"its image looks like {self._places[nearest]} ({bits[nearest]} of {_FREQUENCIES**2} bits differ)"

    def question(self, text: str) -> str | None:
        """Return the detail for the skip of a question with a listed text; None if the text is not listed."""
        place = self._questions.get(question_print(text) or "")
        return f"its text is {place}" if place else None


def write_list(folder: RunFolder, listed: Iterable[Listed], *, name: str) -> None:
    """Store a list in the run folder, so that pairing again needs no other file.

    Args:
        name: value of the setting `exclude` that names the list.
    """
    rows = [{name: getattr(one, name) for name in _SCHEMA.names} for one in listed]
    with folder.store.writer(EXCLUDE) as file:
        schema = _SCHEMA.with_metadata({"exclude": name})
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd")


def list_name(folder: RunFolder) -> str | None:
    """Return the value of the setting `exclude` that the stored list was read from; None without a list.

    Raises:
        RunFolderError: the list is damaged.
    """
    if not folder.store.exists(EXCLUDE):
        return None
    with named_errors(folder, EXCLUDE), folder.store.open(EXCLUDE) as file:
        return str((pq.read_schema(file).metadata or {}).get(b"exclude", b"").decode())


def read_list(folder: RunFolder, *, texts: bool) -> ExcludeList:
    """Read the folder's list; with `texts`, a question with an equal text is excluded too, whatever its images.

    Raises:
        RunFolderError: the list is damaged.
    """
    with named_errors(folder, EXCLUDE), folder.store.open(EXCLUDE) as file:
        rows: list[TableRow] = pq.read_table(file).to_pylist()
        return ExcludeList(Listed(**{**row, **({} if texts else {"question": None})}) for row in rows)


def question_print(text: str) -> str | None:
    """Hash the words of a question; case, punctuation, width and a benchmark's closing instruction do not count."""
    plain = strip_suffix(without_tags(text))
    # "Ｗhat is　this?" and "what is this" are one question
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", plain).casefold())
    return hashlib.sha256(" ".join(words).encode()).hexdigest() if words else None


def opened(encoded: bytes) -> Image:
    """Open an image as a chunk stores it: JPEG, PNG or WEBP, upright, within the run's pixel limit."""
    from PIL import Image

    with warnings.catch_warnings(action="ignore"):
        return Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "WEBP", "MPO"))


def image_print(image: Image) -> bytes | None:
    """Return 32 bytes of an image's coarse shape; None for an image of one colour.

    The arithmetic uses integers only, so that every machine gives the same bytes.
    """
    import numpy as np
    from PIL.Image import Resampling

    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Resampling.LANCZOS), np.int64)
    if grey.max() - grey.min() < _FLAT_LEVELS:
        return None
    waves = _waves()
    strengths = (waves @ grey @ waves.T).ravel()
    bits = strengths > np.sort(strengths[1:])[len(strengths) // 2]
    bits[0] = False  # the mean brightness is no part of the shape
    return np.packbits(bits).tobytes()


@cache
def _waves() -> npt.NDArray[np.int64]:
    """Return the first cosines of the discrete cosine transform (type II), times 4096."""
    import numpy as np

    k, x = np.arange(_FREQUENCIES)[:, None], np.arange(_SIDE)[None]
    waves = 4096 * np.cos(np.pi * (2 * x + 1) * k / (2 * _SIDE))
    return np.asarray(np.rint(waves), np.int64)
