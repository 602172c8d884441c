"""Where an image may be: paths, links, roots, folders, pipes, data URIs, addresses; and other things in its place."""

from __future__ import annotations

import base64
import os

import pytest
from PIL import Image

from mmpr.errors import ImageError
from mmpr.images import ImageOptions, load
from mmpr.types import Reason

RED = (200, 30, 30)


def save(path, image):
    image.save(path)
    return str(path)


def refused(reference, root, **limits):
    with pytest.raises(ImageError) as caught:
        load(str(reference), root=root, options=ImageOptions(**limits))
    assert "\n" not in caught.value.detail
    return caught.value


def test_a_missing_file(tmp_path):
    error = refused(tmp_path / "no.png", tmp_path)
    assert error.reason is Reason.IMAGE_MISSING
    assert str(tmp_path / "no.png") in error.detail


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000, "file.txt/a.png"])
def test_a_name_that_no_file_can_have_is_missing(tmp_path, name):
    (tmp_path / "file.txt").write_text("x")
    assert refused(f"{tmp_path}/{name}", tmp_path).reason is Reason.IMAGE_MISSING


def test_a_name_with_a_line_feed_stays_on_one_line(tmp_path):
    assert "no\\nsuch.png" in refused(tmp_path / "no\nsuch.png", tmp_path).detail


def test_a_loop_of_links_is_missing(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert refused(tmp_path / "a.png", tmp_path).reason is Reason.IMAGE_MISSING


def test_a_folder(tmp_path):
    error = refused(tmp_path, tmp_path)
    assert error.reason is Reason.IMAGE_UNREADABLE
    assert "is a folder" in error.detail


def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    error = refused(tmp_path / "a.png", tmp_path)
    assert error.reason is Reason.IMAGE_UNREADABLE
    assert "no regular file" in error.detail


def test_an_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    error = refused(tmp_path / "a.png", tmp_path)
    assert error.reason is Reason.IMAGE_UNREADABLE
    assert "empty" in error.detail


def test_an_svg_named_png(tmp_path):
    (tmp_path / "a.png").write_text('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')
    error = refused(tmp_path / "a.png", tmp_path)
    assert error.reason is Reason.IMAGE_UNREADABLE
    assert "SVG" in error.detail


def test_postscript_is_never_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert refused(tmp_path / "a.png", tmp_path).reason is Reason.IMAGE_UNREADABLE


def test_a_text_named_jpg(tmp_path):
    (tmp_path / "a.jpg").write_text("404 not found")
    assert refused(tmp_path / "a.jpg", tmp_path).reason is Reason.IMAGE_UNREADABLE


def test_dots_do_not_leave_the_root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    save(tmp_path / "a.png", Image.new("RGB", (1, 1)))
    for path in ("../a.png", str(root / "../a.png"), "../../../../../../etc/passwd", "/etc/passwd", "../no_such"):
        assert refused(path, root).reason is Reason.IMAGE_OUTSIDE_ROOT
    assert load(str(root / "../a.png"), root=root, allow_outside_root=True).width == 1
    assert load(str(root / "../a.png"), root=None).width == 1


def test_a_folder_whose_name_begins_like_the_root_is_outside(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root2").mkdir()
    path = save(tmp_path / "root2" / "a.png", Image.new("RGB", (1, 1)))
    assert refused(path, tmp_path / "root").reason is Reason.IMAGE_OUTSIDE_ROOT


def test_a_link_does_not_leave_the_root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    save(tmp_path / "a.png", Image.new("RGB", (1, 1)))
    (root / "link.png").symlink_to(tmp_path / "a.png")
    (root / "folder").symlink_to(tmp_path)
    assert refused(root / "link.png", root).reason is Reason.IMAGE_OUTSIDE_ROOT
    assert refused(root / "folder" / "a.png", root).reason is Reason.IMAGE_OUTSIDE_ROOT


def test_a_link_inside_the_root_and_a_root_that_is_a_link_are_fine(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    save(root / "a.png", Image.new("RGB", (1, 1)))
    (root / "link.png").symlink_to("a.png")
    (tmp_path / "alias").symlink_to(root)
    assert load("link.png", root=tmp_path / "alias").width == 1


def test_a_data_uri(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (3, 2), RED))
    raw = (tmp_path / "a.png").read_bytes()
    image = load(f"data:image/png;base64,{base64.b64encode(raw).decode()}", root=tmp_path)
    assert image.encoded == raw
    assert image == load(path, root=tmp_path)


@pytest.mark.parametrize(
    "uri", ["data:", "data:image/png,abc", "data:image/png;base64,@@@", "data:text/plain;base64,QQ=="]
)
def test_a_damaged_data_uri(uri):
    assert refused(uri, None).reason is Reason.IMAGE_UNREADABLE


def test_a_long_data_uri_is_refused_unread_and_not_shown():
    error = refused("data:image/png;base64," + "A" * 4000, None, max_image_bytes=100)
    assert error.reason is Reason.IMAGE_TOO_LARGE
    assert len(error.detail) < 300


def test_a_file_address_is_a_path_under_the_root(tmp_path):
    save(tmp_path / "a b.png", Image.new("RGB", (3, 2), RED))
    assert load(f"file://{tmp_path}/a%20b.png", root=tmp_path).width == 3
    assert load(f"file://localhost{tmp_path}/a%20b.png", root=tmp_path).width == 3
    assert refused("file:///etc/passwd", tmp_path).reason is Reason.IMAGE_OUTSIDE_ROOT
    assert refused(f"file://{tmp_path}/no.png", tmp_path).reason is Reason.IMAGE_MISSING
    assert "another machine" in refused(f"file://elsewhere{tmp_path}/a%20b.png", tmp_path).detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (1, 1)))
    (tmp_path / "a.png").chmod(0)
    assert refused(path, tmp_path).reason is Reason.IMAGE_UNREADABLE
