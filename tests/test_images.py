"""Images as people have them: every kind that decodes, and every fault with its reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmpr.errors import ImageError
from mmpr.images import ImageOptions, load
from mmpr.types import Reason

RED = (200, 30, 30)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def save(path, image, **options):
    image.save(path, **options)
    return str(path)


def noise(width=40, height=30, channels=3):
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), np.uint8)


def refused(reference, root, **limits):
    with pytest.raises(ImageError) as caught:
        load(str(reference), root=root, options=ImageOptions(**limits))
    assert "\n" not in caught.value.detail
    return caught.value


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, pixels, *extra):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", zlib.compress(pixels)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("suffix", "mode"), [("jpg", "RGB"), ("jpg", "L"), ("png", "RGB"), ("png", "L"), ("webp", "RGB")]
)
def test_an_upright_8_bit_image_keeps_its_bytes(tmp_path, suffix, mode):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise()).convert(mode))
    decoded = load(path, root=tmp_path)
    raw = (tmp_path / f"a.{suffix}").read_bytes()
    assert decoded.encoded == raw
    assert decoded.sha256 == decoded.original_sha256 == sha256(raw).hexdigest()
    assert decoded.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[suffix]
    assert (decoded.width, decoded.height, decoded.pixels.mode) == (40, 30, "RGB")


def test_the_name_of_a_file_proves_nothing(tmp_path):
    path = tmp_path / "really_a_jpeg.png"
    Image.new("RGB", (4, 4), RED).save(path, "JPEG")
    assert load(str(path), root=tmp_path).format == "JPEG"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_are_made_and_the_turned_image_is_embedded(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = 255
    path = save(tmp_path / "a.png", Image.fromarray(pixels), exif=exif)
    decoded = load(path, root=tmp_path)
    from PIL import ImageOps

    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert decoded.pixels.tobytes() == expected.tobytes()
    assert decoded.pixels.size == (decoded.width, decoded.height) == expected.size
    with Image.open(io.BytesIO(decoded.encoded)) as again:
        assert again.getexif().get(0x0112, 1) == 1
        assert again.convert("RGB").tobytes() == expected.tobytes()
    assert (decoded.sha256 == decoded.original_sha256) == (orientation == 1)


def test_transparency_lies_on_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (*RED, 255))
    decoded = load(save(tmp_path / "a.png", image), root=tmp_path)
    assert [decoded.pixels.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), RED]
    assert decoded.format == "PNG"
    assert decoded.sha256 != decoded.original_sha256


def test_grey_with_alpha_lies_on_white(tmp_path):
    decoded = load(save(tmp_path / "a.png", Image.new("LA", (1, 1), (0, 0))), root=tmp_path)
    assert decoded.pixels.getpixel((0, 0)) == (255, 255, 255)


def test_a_palette_keeps_its_colours_and_its_transparent_entry_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 0])
    image.putpixel((1, 0), 1)
    decoded = load(save(tmp_path / "a.png", image, transparency=1), root=tmp_path)
    assert [decoded.pixels.getpixel((x, 0)) for x in (0, 1)] == [RED, (255, 255, 255)]


def test_a_colour_key_in_rgb_is_transparent(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (2, 1), RED), transparency=RED)
    assert load(path, root=tmp_path).pixels.getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 256, 32768, 65535]], np.uint16)
    decoded = load(save(tmp_path / "a.png", Image.fromarray(values)), root=tmp_path)
    assert [decoded.pixels.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]
    with Image.open(io.BytesIO(decoded.encoded)) as again:
        assert again.mode == "RGB"


def test_16_bit_colour_is_embedded_as_8_bit(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0)))
    decoded = load(str(tmp_path / "a.png"), root=tmp_path)
    assert decoded.pixels.getpixel((0, 0)) == (255, 128, 0)
    assert decoded.encoded[24] == 8


def test_16_bit_colour_with_a_colour_key_decodes(tmp_path):
    key = png_chunk(b"tRNS", struct.pack(">HHH", 0xFFFF, 0x8000, 0))
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 1, 2, 3), key))
    assert load(str(tmp_path / "a.png"), root=tmp_path).width == 1


def test_16_bit_tiff_and_float_tiff_are_scaled(tmp_path):
    deep = load(save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 65535]], np.uint16))), root=tmp_path)
    real = load(save(tmp_path / "b.tif", Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))), root=tmp_path)
    assert [deep.pixels.getpixel((x, 0))[0] for x in range(2)] == [0, 255]
    assert [real.pixels.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_1_bit_becomes_black_and_white(tmp_path):
    decoded = load(save(tmp_path / "a.png", Image.new("1", (8, 8), 1)), root=tmp_path)
    assert decoded.pixels.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.sha256 != decoded.original_sha256


def test_cmyk_becomes_rgb_png_without_its_profile(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), icc_profile=b"no profile")
    decoded = load(path, root=tmp_path)
    red, green, blue = decoded.pixels.getpixel((8, 8))
    assert red > 200
    assert green < 60
    assert blue < 60
    assert decoded.format == "PNG"
    with Image.open(io.BytesIO(decoded.encoded)) as again:
        assert "icc_profile" not in again.info


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, suffix):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    decoded = load(path, root=tmp_path)
    assert decoded.pixels.getpixel((3, 3)) == (255, 0, 0)
    assert decoded.format == "PNG"
    assert decoded.encoded.startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", ["bmp", "tif", "gif", "ppm", "jp2", "avif"])
def test_other_formats_are_embedded_as_png(tmp_path, suffix):
    decoded = load(save(tmp_path / f"a.{suffix}", Image.fromarray(noise())), root=tmp_path)
    assert (decoded.format, decoded.pixels.size) == ("PNG", (40, 30))


def test_avif_may_begin_with_the_brand_of_its_container_or_of_a_sequence(tmp_path):
    still, moving = Image.new("RGB", (40, 30), RED), Image.new("RGB", (40, 30))
    path = save(tmp_path / "a.avif", still)
    encoded = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "a.avif").write_bytes(encoded[:8] + b"mif1" + encoded[12:])  # `avif` stays among those behind it
    assert load(path, root=tmp_path).pixels.size == (40, 30)
    path = save(tmp_path / "b.avif", still, save_all=True, append_images=[moving])
    assert (tmp_path / "b.avif").read_bytes()[8:12] == b"avis"
    decoded = load(path, root=tmp_path)
    assert decoded.format == "PNG" and abs(decoded.pixels.getpixel((9, 9))[0] - RED[0]) < 9


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"x" * 99, "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix" + b"x" * 99, "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41" + b"x" * 99, "a video"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html><head><svg></svg>", "HTML page"),
        (b"<HTML>\n<body>404", "HTML page"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\x0a\x10", "JPEG XL"),
        (b"hello", "no image in a known format"),
    ],
)
def test_what_is_no_image_is_named_for_what_it_is(tmp_path, content, says):
    (tmp_path / "a.png").write_bytes(content)
    error = refused("a.png", tmp_path)
    assert error.reason is Reason.IMAGE_UNREADABLE and says in error.detail and "a.png" in error.detail


def test_a_phones_second_image_behind_the_first_is_ignored(tmp_path):
    image = Image.fromarray(noise())
    path = save(tmp_path / "a.jpg", image, format="MPO", save_all=True, append_images=[image])
    decoded = load(path, root=tmp_path)
    assert decoded.format == "JPEG"
    assert decoded.encoded == (tmp_path / "a.jpg").read_bytes()


def test_encoding_again_gives_the_same_bytes(tmp_path):
    path = save(tmp_path / "a.bmp", Image.fromarray(noise()))
    assert load(path, root=tmp_path).encoded == load(path, root=tmp_path).encoded


@pytest.mark.parametrize("size", [(1, 1), (30_000, 2), (1, 5000)])
def test_odd_sizes_are_images(tmp_path, size):
    assert load(save(tmp_path / "a.png", Image.new("RGB", size)), root=tmp_path).pixels.size == size


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif", "avif"])
def test_a_cut_file_is_unreadable(tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    save(whole, Image.fromarray(noise(200, 200)))
    raw = whole.read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "cut").write_bytes(raw[: int(len(raw) * share)])
        assert refused(tmp_path / "cut", tmp_path).reason is Reason.IMAGE_UNREADABLE
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_damaged_bytes_give_an_image_or_an_image_error_and_nothing_else(tmp_path):
    rng = np.random.default_rng(3)
    for suffix in ("jpg", "png", "webp", "gif", "bmp", "tif", "ppm", "avif", "jp2"):
        save(tmp_path / f"a.{suffix}", Image.fromarray(noise()))
        raw = np.frombuffer((tmp_path / f"a.{suffix}").read_bytes(), np.uint8)
        for _ in range(60):
            broken = raw.copy()
            broken[rng.integers(0, min(len(raw), 400), 4)] = rng.integers(0, 256, 4)
            (tmp_path / "broken").write_bytes(broken.tobytes())
            try:
                load(str(tmp_path / "broken"), root=tmp_path, options=ImageOptions(max_pixels=1_000_000))
            except ImageError as error:
                assert error.reason in (Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000, 8, 2, b""))
    error = refused(tmp_path / "bomb.png", tmp_path)
    assert error.reason is Reason.IMAGE_TOO_LARGE
    assert "60000x60000" in error.detail
    assert "100,000,000" in error.detail


def test_pils_own_limit_neither_warns_nor_changes(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = save(tmp_path / "a.png", Image.new("L", (9_500, 9_500)))
    assert load(path, root=tmp_path).width == 9_500
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_pixel_limit_is_the_callers(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (11, 10)))
    assert refused(path, tmp_path, max_pixels=109).reason is Reason.IMAGE_TOO_LARGE
    assert load(path, root=tmp_path, options=ImageOptions(max_pixels=110)).width == 11


def test_the_byte_limit_is_the_callers(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(noise()))
    error = refused(path, tmp_path, max_image_bytes=100)
    assert error.reason is Reason.IMAGE_TOO_LARGE
    assert "the limit is 100" in error.detail


def test_damaged_exif_neither_warns_nor_hurts(tmp_path):
    path = save(tmp_path / "a.jpg", Image.fromarray(noise()), exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x09")
    assert load(path, root=tmp_path).width == 40


def test_many_threads_load_at_once(tmp_path):
    paths = [
        save(tmp_path / f"{i}.{e}", Image.fromarray(noise())) for i, e in enumerate(("png", "jpg", "gif", "tif") * 8)
    ]
    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda path: load(path, root=tmp_path), paths * 4))
    assert {decoded.pixels.size for decoded in images} == {(40, 30)}
    assert warnings.filters == filters


def test_importing_the_module_does_not_import_pil():
    code = "import sys, mmpr.images, mmpr.sources; print(sorted({'PIL', 'pyarrow', 'numpy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
