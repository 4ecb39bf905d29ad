"""Everything that can be wrong with an upload: status, code, hint; and nothing is stored."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from jobs.settings import Settings
from service.app import create_app
from tests.integration.service.client import TestClient
from tests.integration.service.pairs import index_mask, pair_files, photograph, png
from tests.integration.service.refusals import assert_refused

Stored = Callable[[], list[str]]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def many_classes() -> bytes:
    values = np.arange(300, dtype=np.uint16).reshape(15, 20)
    return png(Image.fromarray(values.repeat(8, axis=0).repeat(8, axis=1)))


def smoothed_mask() -> bytes:
    mask = index_mask(192, 128).point(lambda value: value * 100)
    return png(mask.filter(ImageFilter.GaussianBlur(3)))


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_text_chunk(size: int) -> bytes:
    """A small PNG with a few kilobytes of text that inflate to ``size`` bytes."""
    image = png(photograph())
    at = image.index(b"IDAT") - 4
    return image[:at] + chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(size))) + image[at:]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that claims to have very many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def animation(kind: str) -> bytes:
    frames = [photograph(seed=seed) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def wide_pair() -> dict[str, tuple[str, bytes]]:
    return pair_files(png(photograph(640, 64)), png(index_mask(640, 64)))


def two_names(first: bytes, name: str) -> dict[str, tuple[str, bytes]]:
    return {**pair_files(), "image": (name, first)}


def values_mask(*values: int) -> bytes:
    rows = np.array(values, np.uint8).repeat(-(-64 * 96 // len(values)))[: 64 * 96]
    return png(Image.fromarray(rows.reshape(64, 96)))


WRONG_PAIRS: dict[str, tuple[Callable[[], dict[str, tuple[str, bytes]]], int, str]] = {
    "no mask": (lambda: {"image": pair_files()["image"]}, 422, "mask_missing"),
    "no image": (lambda: {"mask": pair_files()["mask"]}, 422, "image_missing"),
    "empty mask": (lambda: {**pair_files(), "mask": ("mask.png", b"")}, 422, "mask_missing"),
    "mask of another size": (
        lambda: pair_files(mask=png(index_mask(48, 32))), 422, "size_mismatch",
    ),
    "one class": (
        lambda: pair_files(mask=png(Image.new("L", (96, 64), 0))), 422, "single_class",
    ),
    "300 classes": (
        lambda: pair_files(png(photograph(160, 120)), many_classes()), 422, "too_many_classes",
    ),
    "255 beside others": (
        lambda: pair_files(mask=values_mask(0, 1, 2, 255)), 422, "undeclared_index",
    ),
    "anti-aliased mask": (
        lambda: pair_files(png(photograph(192, 128)), smoothed_mask()), 422, "lossy_mask",
    ),
    "JPEG mask": (
        lambda: {
            **pair_files(),
            "mask": ("mask.jpg", encoded(index_mask().point(lambda v: v * 100), "JPEG")),
        },
        422,
        "lossy_mask",
    ),
    "text named .png": (
        lambda: two_names(b"hello, I am no image at all", "photo.png"), 415, "unsupported_image",
    ),
    "JPEG named .png": (
        lambda: two_names(encoded(photograph(), "JPEG"), "photo.png"), 415, "name_mismatch",
    ),
    "half a PNG": (
        lambda: pair_files(image=png(photograph())[: len(png(photograph())) // 2]),
        400,
        "broken_image",
    ),
    "half a JPEG": (
        lambda: two_names(
            encoded(photograph(320, 240), "JPEG")[:2_000], "photo.jpg"
        ),
        400,
        "broken_image",
    ),
    "animated GIF": (lambda: two_names(animation("GIF"), "photo.gif"), 422, "animated"),
    "animated WebP": (lambda: two_names(animation("WEBP"), "photo.webp"), 422, "animated"),
    "a bitmap": (
        lambda: two_names(encoded(photograph(), "BMP"), "photo.bmp"), 415, "unsupported_image",
    ),
    "decompression bomb": (
        lambda: pair_files(image=bomb(60_000, 60_000)), 413, "too_many_pixels",
    ),
    "decompression bomb in a text chunk": (
        lambda: pair_files(image=with_text_chunk(50_000_000)), 400, "broken_image",
    ),
    "bomb as mask": (lambda: pair_files(mask=bomb(60_000, 60_000)), 413, "too_many_pixels"),
    "20x20": (
        lambda: pair_files(png(photograph(20, 20)), png(index_mask(20, 20))), 422, "too_small",
    ),
    "10:1": (wide_pair, 422, "bad_aspect"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_PAIRS)
def test_wrong_pairs_are_refused_and_nothing_is_stored(
    case: str, gateway: TestClient, stored: Stored
) -> None:
    make, status, code = WRONG_PAIRS[case]
    assert_refused(gateway.post("/jobs", files=make()), status, code)
    assert stored() == []
    assert gateway.get("/jobs").json()["items"] == []


def test_a_forgotten_mask_is_told_how_to_ask_for_a_job_without_one(gateway: TestClient) -> None:
    problem = gateway.post("/jobs", files={"image": pair_files()["image"]}).json()
    assert "mask_supervision=none" in problem["hint"]


WRONG_FIELDS: dict[str, tuple[dict[str, str], str]] = {
    "unknown preset": ({"preset": "huge"}, "preset"),
    "unknown method": ({"method": "diffusion"}, "method"),
    "unknown field": ({"presett": "draft"}, "presett"),
    "max_size too small": ({"max_size": "16"}, "max_size"),
    "max_size too large": ({"max_size": "4096"}, "max_size"),
    "no number": ({"iterations": "many"}, "iterations"),
    "a negative number of samples": ({"n": "-1"}, "n"),
    "too many samples": ({"n": "10001"}, "n"),
    "negative seed": ({"seed": "-1"}, "seed"),
    "output size": ({"output_size": "12by3"}, "output_size"),
    "classes no JSON": ({"classes": "background,coin"}, "classes"),
    "one class name": ({"classes": '["background"]'}, "classes"),
    "33 class names": ({"classes": str([f"c{i}" for i in range(33)]).replace("'", '"')}, "classes"),
    "class names with gaps": ({"classes": '{"0": "background", "2": "coin"}'}, "classes"),
    "metadata no object": ({"metadata": "[1]"}, "metadata"),
    "metadata too large": ({"metadata": '{"a": "' + "x" * 5_000 + '"}'}, "metadata"),
    "metadata too deep": ({"metadata": '{"a":' * 1_500 + "1" + "}" * 1_500}, "metadata"),
    "half a character": ({"metadata": '{"a": "\\ud800"}'}, "metadata"),
    "not a number": ({"metadata": '{"a": NaN}'}, "metadata"),
    "metadata 300 deep": ({"metadata": '{"a":' * 300 + "1" + "}" * 300}, "metadata"),
    "arrays 600 deep": ({"metadata": '{"a":' + "[" * 600 + "]" * 600 + "}"}, "metadata"),
    "classes 600 deep": ({"classes": "[" * 600 + "]" * 600}, "classes"),
    "a control character in a name": ({"classes": '["background", "co\\nin"]'}, "classes"),
    "a name too long": ({"classes": '["background", "' + "c" * 65 + '"]'}, "classes"),
    "an empty name": ({"classes": '["background", ""]'}, "classes"),
    "half a character in a name": ({"classes": '["background", "\\udc00"]'}, "classes"),
    "ignore_index": ({"ignore_index": "256"}, "ignore_index"),
    "webhook": ({"webhook_url": "https://example.org/hook"}, "webhook_url"),
}


@pytest.mark.parametrize("case", WRONG_FIELDS)
def test_wrong_fields_are_named(case: str, gateway: TestClient, stored: Stored) -> None:
    fields, name = WRONG_FIELDS[case]
    response = gateway.post("/jobs", files=pair_files(), data=fields)
    problem = assert_refused(response, 422, "invalid_request")
    assert [error["field"].split(".")[0] for error in problem["errors"]] == [name]
    assert problem["errors"][0]["message"]
    assert stored() == []


WRONG_OPTIONS: dict[str, tuple[dict[str, str], str]] = {
    "too few names": ({"classes": '["background", "box"]'}, "class_count_mismatch"),
    "same name twice": ({"classes": '["background", "box", "box"]'}, "bad_classes"),
    "not binary": ({"mask_encoding": "binary"}, "not_binary"),
    "another aspect": ({"output_size": "200x30"}, "bad_output_size"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_options_that_do_not_fit_the_pair(case: str, gateway: TestClient, stored: Stored) -> None:
    fields, code = WRONG_OPTIONS[case]
    assert_refused(gateway.post("/jobs", files=pair_files(), data=fields), 422, code)
    assert stored() == []


def test_colours_declared_as_indices(gateway: TestClient) -> None:
    colours = Image.new("RGB", (96, 64), (0, 0, 0))
    colours.paste((200, 0, 0), (0, 0, 30, 30))
    colours.paste((0, 200, 0), (40, 10, 80, 40))
    response = gateway.post(
        "/jobs", files=pair_files(mask=png(colours)), data={"mask_encoding": "index"}
    )
    assert_refused(response, 422, "encoding_mismatch")


def test_the_paper_preset_needs_a_gpu(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"device": "cpu"}))) as gateway:
        refused = gateway.post("/jobs", files=pair_files(), data={"preset": "paper"})
        assert "days" in assert_refused(refused, 422, "needs_gpu")["detail"]
        for fields in ({"iterations": "30", "max_size": "64"}, {"allow_slow": "true"}):
            accepted = gateway.post("/jobs", files=pair_files(), data={"preset": "paper", **fields})
            assert accepted.status_code == 202, accepted.text
    with TestClient(create_app(settings.model_copy(update={"device": "cuda"}))) as gateway:
        accepted = gateway.post("/jobs", files=pair_files(), data={"preset": "paper"})
        assert accepted.status_code == 202


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"image": "x"}', "application/json"),
        (b"--x\r\nno headers at all", "multipart/form-data; boundary=y"),
        (b"", "multipart/form-data"),
        (b"a=b", "text/plain"),
    ],
)
def test_bodies_that_are_no_form_are_malformed(
    content: bytes, content_type: str, gateway: TestClient
) -> None:
    response = gateway.post("/jobs", content=content, headers={"content-type": content_type})
    assert_refused(response, 400, "malformed")


def test_more_than_two_files_are_malformed(gateway: TestClient) -> None:
    response = gateway.post("/jobs", files={**pair_files(), "third": ("a.png", b"x")})
    assert_refused(response, 400, "malformed")


@pytest.mark.parametrize(
    "fields", [{f"field{i}": "x" for i in range(80)}, {"metadata": "x" * 100_000}]
)
def test_too_many_fields_and_too_large_ones_are_malformed(
    fields: dict[str, str], gateway: TestClient, stored: Stored
) -> None:
    assert_refused(gateway.post("/jobs", files=pair_files(), data=fields), 400, "malformed")
    assert stored() == []


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_beyond_the_limit_are_too_large(
    chunked: bool, settings: Settings, stored: Stored
) -> None:
    small = settings.model_copy(update={"max_upload_bytes": 200_000})
    body = b"--x\r\n" + b"0" * 500_000

    def pieces() -> Any:
        yield from (body[at : at + 50_000] for at in range(0, len(body), 50_000))

    with TestClient(create_app(small), raise_server_exceptions=False) as gateway:
        response = gateway.post(
            "/jobs",
            content=pieces() if chunked else body,
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        assert_refused(response, 413, "too_large")
        assert gateway.get("/livez").status_code == 200
    assert stored() == []


def test_more_pixels_than_allowed(settings: Settings) -> None:
    small = settings.model_copy(update={"max_pixels": 5_000})
    with TestClient(create_app(small)) as gateway:
        response = gateway.post("/jobs", files=pair_files())
    assert_refused(response, 413, "too_many_pixels")


def test_a_decoder_that_takes_too_long_is_stopped(settings: Settings, stored: Stored) -> None:
    hurried = settings.model_copy(update={"decode_timeout_seconds": 0.02})
    with TestClient(create_app(hurried)) as gateway:
        response = gateway.post("/jobs", files=pair_files())
        assert_refused(response, 422, "too_complex")
        assert gateway.get("/livez").status_code == 200
    assert stored() == []
