"""The decoding helper under its limits, as a real process."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image

from service.decoder import Decoder, DecoderOptions
from service.decoding import DecodeLimits, DecodeRequest
from service.problems import ProblemError


def request(limits: DecodeLimits, max_pixels: int = 50_000_000) -> DecodeRequest:
    return DecodeRequest(
        limits=limits,
        client_names={"image": "a.png", "mask": "b.png"},
        read={"class_names": None, "mask_encoding": "auto", "ignore_index": None,
              "max_pixels": max_pixels},
        training={},
        has_gpu=False,
        max_output_px=1024,
        keep=False,
    )  # fmt: skip


def fill(folder: Path, side: int) -> None:
    for name, colour in (("image", "RGB"), ("mask", "L")):
        picture = Image.new(colour, (side, side))
        picture.paste(1 if colour == "L" else (9, 9, 9), (0, 0, side // 2, side // 2))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        (folder / name).write_bytes(buffer.getvalue())


def refusal(folder: Path, options: DecoderOptions, limits: DecodeLimits) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        asyncio.run(Decoder(options).read(folder, request(limits)))
    return caught.value


def test_too_little_memory(tmp_path: Path) -> None:
    fill(tmp_path, 6_000)
    options = DecoderOptions()
    limits = options.limits().model_copy(update={"memory_bytes": 250_000_000})
    error = refusal(tmp_path, options, limits)
    assert error.code == "too_complex"
    assert "Traceback" not in error.detail


def test_too_little_time(tmp_path: Path) -> None:
    fill(tmp_path, 64)
    options = DecoderOptions(wall_seconds=0.01)
    assert refusal(tmp_path, options, options.limits()).code == "too_complex"


def test_all_helpers_busy(tmp_path: Path) -> None:
    fill(tmp_path, 64)
    options = DecoderOptions(concurrency=0, queue_seconds=0.05)
    assert refusal(tmp_path, options, options.limits()).code == "busy"


def test_the_largest_image_fits_the_memory_limit(tmp_path: Path) -> None:
    fill(tmp_path, 5_000)
    options = DecoderOptions(max_pixels=25_000_000)
    asked = request(options.limits(), max_pixels=25_000_000)
    summary = asyncio.run(Decoder(options).read(tmp_path, asked))
    assert (summary.width, summary.height) == (5_000, 5_000)
    assert len(summary.classes) == 2
