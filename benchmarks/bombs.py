"""Write small files that unpack to gigabytes, or claim to: sources of rows, and images.

    python -m benchmarks.bombs FOLDER

An ordinary source is written too (`honest.jsonl`), to measure the memory that reading needs in any case.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 9_900  # of an image, in pixels: 98 million pixels, below the limit of 100 million
BLANK_BYTES = 2**30
LONG, SHARED_ROWS = 120_000_000, 60  # a text of 120 million characters in 60 rows: 7 GiB
_BLOCK = 2**20


def write_bombs(
    folder: Path, *, side: int = SIDE, blank_bytes: int = BLANK_BYTES, long: int = LONG
) -> tuple[list[Path], list[Path]]:
    """Write all files; return the paths of the sources and of the images."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*_tables(folder, long), *_texts(folder), *_blank(folder, blank_bytes)]
    images = [_written(folder / name, content) for name, content in image_bombs(side)]
    (folder / "honest.jsonl").write_text(json.dumps({"question": "How many?", "answer": "2"}) + "\n")
    return sources, images


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _tables(folder: Path, long: int) -> Iterator[Path]:
    """Write Parquet files with a text that many rows share: in a dictionary, in lists, and as common prefixes."""
    text = pa.array(["x" * long])
    same = pa.DictionaryArray.from_arrays(np.zeros(SHARED_ROWS, np.int32), text)
    options = {"dictionary_pagesize_limit": 2**31 - 1, "compression": "zstd", "store_schema": False}
    pq.write_table(pa.table({"question": same}), folder / "shared.parquet", **options)
    yield folder / "shared.parquet"
    several = pa.ListArray.from_arrays(pa.array(np.arange(0, 401, 4), pa.int32()), _shared(long // 60, 400))
    rows = pa.table({"question": ["Which?"] * 100, "choices": several})
    pq.write_table(rows, folder / "lists.parquet", **options)
    yield folder / "lists.parquet"
    prefixes = pa.table({"question": ["x" * (long // 20)] * SHARED_ROWS})
    encoding = {"use_dictionary": False, "column_encoding": {"question": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    pq.write_table(prefixes, folder / "prefixes.parquet", **encoding)
    yield folder / "prefixes.parquet"


def _shared(long: int, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array(["x" * long])).cast(pa.string())


def _texts(folder: Path) -> Iterator[Path]:
    """Write JSON with deep nesting, and one line of 200 MB."""
    deep = b'{"question": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}\n"
    yield _written(folder / "deep.jsonl", deep)
    yield _written(folder / "deep.json", b"[" + deep + b"]")
    long = b'{"question": "' + b"x" * 200_000_000 + b'"}\n'
    yield _written(folder / "line.jsonl.gz", gzip.compress(long, 1))


def _blank(folder: Path, n_bytes: int) -> Iterator[Path]:
    """Write compressed blank lines, alone and before, between and after two rows; and one endless line of spaces."""
    row = json.dumps({"question": "How many?", "answer": "2"}).encode() + b"\n"
    gap = b"\n" * _BLOCK
    gaps = [row, *[gap] * (n_bytes // _BLOCK), row]
    yield _packed(folder / "blank.jsonl.gz", [gap] * (n_bytes // _BLOCK))
    yield _packed(folder / "gaps.jsonl.gz", gaps)
    yield _packed(folder / "gaps.jsonl.zst", gaps)
    yield _packed(folder / "gaps.csv.gz", [b"question,answer\nHow many?,2\n", *gaps[1:-1], b"How many?,2\n"])
    yield _packed(folder / "spaces.jsonl.gz", [b" " * _BLOCK] * (n_bytes // _BLOCK))
    yield _packed(folder / "gaps.json.gz", [*gaps[1:-1], b"[", *gaps[1:-1], row, b"]"])
    yield _packed(folder / "gaps.jsonl.bz2", gaps[: 2 + 64])
    yield _packed(folder / "gaps.jsonl.xz", gaps[: 2 + 64])


def _packed(path: Path, blocks: list[bytes]) -> Path:
    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            for block in blocks:
                stream.write(block)
        return path
    packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    pack = packers[path.suffix]
    with path.open("wb") as file:  # in all three formats, a file may be several compressed streams
        same: dict[bytes, bytes] = {}
        for block in blocks:
            if block not in same:
                same[block] = pack(block)
            file.write(same[block])
    return path


# -- images ---------------------------------------------------------------------------------------------------------


def image_bombs(side: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of images of some hundred kB.

    Each unpacks to as many pixels as are allowed, or its header claims many more.
    """
    yield "deep.png", png(side, side, depth=16, colour=0)
    yield "deep_rgb.png", png(side, side, depth=16, colour=2)
    yield "palette.png", png(side, side, depth=8, colour=3)
    yield "alpha.png", png(side, side, depth=16, colour=6)
    for mode in ("F", "I", "I;16"):
        yield f"{mode.replace(';', '')}.tiff", _saved(Image.new(mode, (side, side)), "TIFF", compression="tiff_deflate")
    flat = Image.new("RGB", (side, side), "red")
    yield "flat.jpg", _saved(flat, "JPEG")
    yield "flat.gif", _saved(flat.convert("P"), "GIF")
    yield "flat.bmp.tiff", _saved(Image.new("1", (side, side)), "TIFF", compression="group4")
    small = flat.resize((min(side, 6_000), min(side, 6_000)))
    yield "flat.webp", _saved(small, "WEBP", lossless=True, method=0, quality=0)
    yield "flat.jp2", _saved(small, "JPEG2000", irreversible=False)
    yield "flat.avif", _saved(small, "AVIF", speed=10, quality=10)
    yield "frames.gif", _saved(small.convert("P"), "GIF", save_all=True, append_images=[small.convert("P")] * 9)
    yield from _huge_headers()


def png(width: int, height: int, *, depth: int, colour: int) -> bytes:
    """Return a PNG of zeros, compressed row by row; `colour` is PNG's colour type."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    packer, row = zlib.compressobj(9), bytes(1 + width * channels * depth // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    palette = _chunk(b"PLTE", bytes(3)) if colour == 3 else b""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = _chunk(b"IHDR", header) + palette + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _huge_headers() -> Iterator[tuple[str, bytes]]:
    """Yield small images whose headers claim 60,000 x 60,000 pixels, or the most that the format allows."""
    little = Image.new("RGB", (16, 16), "red")
    yield "header.png", b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bmp = bytearray(_saved(little, "BMP"))
    struct.pack_into("<ii", bmp, 18, 60_000, 60_000)
    yield "header.bmp", bytes(bmp)
    gif = bytearray(_saved(little.convert("P"), "GIF"))
    struct.pack_into("<HH", gif, 6, 65_535, 65_535)
    yield "header.gif", bytes(gif)
    jpeg = bytearray(_saved(little, "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", jpeg, at, 65_000, 65_000)
    yield "header.jpg", bytes(jpeg)
    yield "header.ppm", b"P6\n60000 60000\n255\n" + bytes(100)
    tiff = bytearray(_saved(little, "TIFF"))
    for tag in (256, 257):  # tags of the image's width and length
        place = tiff.index(struct.pack("<HH", tag, 4)) if struct.pack("<HH", tag, 4) in tiff else None
        place = tiff.index(struct.pack("<HH", tag, 3)) if place is None else place
        struct.pack_into("<HHII", tiff, place, tag, 4, 1, 60_000)
    yield "header.tiff", bytes(tiff)
    jp2 = bytearray(_saved(little, "JPEG2000"))
    for mark, offset in ((b"ihdr", 4), (b"\xff\x51", 6)):
        at = jp2.index(mark) + offset
        struct.pack_into(">II", jp2, at, 60_000, 60_000)
    yield "header.jp2", bytes(jp2)


def main() -> None:
    """Parse the command line, write the files, list them with their sizes."""
    parser = argparse.ArgumentParser(description="Write small files that unpack to gigabytes.")
    parser.add_argument("folder", type=Path)
    sources, images = write_bombs(parser.parse_args().folder)
    for path in (*sources, *images):
        print(f"{path.stat().st_size:12,} {path}")


if __name__ == "__main__":
    main()
