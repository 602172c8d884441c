"""Images and questions of a benchmark, by their hashes, and which of a run's are among them.

An image is the same if its file is, byte for byte, or if its print is near: 256 bits of its coarse shape (pHash: which
low cosine frequencies are above their median), which scaling and JPEG leave alone. Of 634,050 pairs of different
images (pocket world, pages of text, bar charts, blurs) the nearest differ in 40 bits. Within 32 are all that were
made again at JPEG quality 75 or 30, at half or at 1.5 times their size, and 99.8 % at half size and quality 60:
`python -m benchmarks.image_prints`.
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
_FLAT_LEVELS = 8  # an image of one colour has no shape: all such would be alike
_SCHEMA = pa.schema(
    [("place", pa.string()), ("original_sha256", pa.string()), ("print", pa.binary()), ("question", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One image or one question of a list; `place` is the file and line that people look up."""

    place: str
    original_sha256: str | None = None
    print: bytes | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What was found of a run: images by sha256 and questions by print, each with the words of their skip."""

    images: dict[str, str] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)

    def add_image(self, sha256: str, detail: str) -> None:
        """Remember one image; of two files with these pixels the words that sort first stay, whichever came first."""
        self.images[sha256] = min(detail, self.images.get(sha256, detail))

    def skip(self, question: Question, images: Sequence[str]) -> Skip | None:
        """The skip of a question that stands in the list, by one of its images' sha256 or its text."""
        detail = next((self.images[sha256] for sha256 in images if sha256 in self.images), None)
        if detail is None and self.questions:
            detail = self.questions.get(question_print(question.text) or "")
        return Skip(question.id, Stage.SELECT, Reason.EXCLUDED, detail) if detail else None


class ExcludeList:
    """The list of a run folder, ready to be asked."""

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
        """Whether images' bytes are needed to ask it."""
        return bool(self._files)

    def image(self, original_sha256: str, encoded: bytes) -> str | None:
        """What a skip says of an image that stands in the list; None if it does not."""
        import numpy as np

        if place := self._files.get(original_sha256):
            return f"its image is {place}, byte for byte"
        found = image_print(opened(encoded)) if self._places else None
        if found is None:
            return None
        bits = np.bitwise_count(self._prints ^ np.frombuffer(found, np.uint64)).sum(axis=1)
        nearest = int(bits.argmin())
        if bits[nearest] > MOST_DIFFERENT_BITS:
            return None
        return f"its image looks like {self._places[nearest]} ({bits[nearest]} of {_FREQUENCIES**2} bits differ)"

    def question(self, text: str) -> str | None:
        """What a skip says of a question whose text stands in the list; None if it does not."""
        place = self._questions.get(question_print(text) or "")
        return f"its text is {place}" if place else None


def write_list(folder: RunFolder, listed: Iterable[Listed], *, name: str) -> None:
    """Keep a list in the run folder, so that pairing again needs no other file.

    Args:
        name: the setting that it was read by.
    """
    rows = [{name: getattr(one, name) for name in _SCHEMA.names} for one in listed]
    with folder.store.writer(EXCLUDE) as file:
        schema = _SCHEMA.with_metadata({"exclude": name})
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd")


def list_name(folder: RunFolder) -> str | None:
    """The setting that the folder's list was read by; None where it has none.

    Raises:
        RunFolderError: it is damaged.
    """
    if not folder.store.exists(EXCLUDE):
        return None
    with named_errors(folder, EXCLUDE), folder.store.open(EXCLUDE) as file:
        return str((pq.read_schema(file).metadata or {}).get(b"exclude", b"").decode())


def read_list(folder: RunFolder, *, texts: bool) -> ExcludeList:
    """The folder's list; `texts`: whether questions count that no image betrays.

    Raises:
        RunFolderError: it is damaged.
    """
    with named_errors(folder, EXCLUDE), folder.store.open(EXCLUDE) as file:
        rows: list[TableRow] = pq.read_table(file).to_pylist()
        return ExcludeList(Listed(**{**row, **({} if texts else {"question": None})}) for row in rows)


def question_print(text: str) -> str | None:
    """A hash of a question's words: case, punctuation, width and a benchmark's closing instruction do not matter."""
    plain = strip_suffix(without_tags(text))
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", plain).casefold())
    return hashlib.sha256(" ".join(words).encode()).hexdigest() if words else None


def opened(encoded: bytes) -> Image:
    """An image as a chunk stores it: JPEG, PNG or WEBP, upright, within the run's limit of pixels."""
    from PIL import Image

    with warnings.catch_warnings(action="ignore"):
        return Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "WEBP", "MPO"))


def image_print(image: Image) -> bytes | None:
    """32 bytes of an image's coarse shape; None for an image of one colour.

    Reckoned in whole numbers: the same on every machine.
    """
    import numpy as np
    from PIL.Image import Resampling

    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Resampling.LANCZOS), np.int64)
    if grey.max() - grey.min() < _FLAT_LEVELS:
        return None
    waves = _waves()
    strengths = (waves @ grey @ waves.T).ravel()
    bits = strengths > np.sort(strengths[1:])[len(strengths) // 2]
    bits[0] = False  # the mean brightness says nothing of the shape
    return np.packbits(bits).tobytes()


@cache
def _waves() -> npt.NDArray[np.int64]:
    """The first cosines of the discrete cosine transform (type II), times 4096."""
    import numpy as np

    k, x = np.arange(_FREQUENCIES)[:, None], np.arange(_SIDE)[None]
    waves = 4096 * np.cos(np.pi * (2 * x + 1) * k / (2 * _SIDE))
    return np.asarray(np.rint(waves), np.int64)
