"""How long a job will take, roughly; plain arithmetic that loads nothing.

Measured on two CPU cores, and on one H100 with its host, with batches of 5 (docs/benchmarks.md).
Estimates only: the trainer times its own steps.
"""

from __future__ import annotations

from osmis_core.data.presets import Method, Preset

_STEP_SECONDS_PER_PX: dict[Method, float] = {"projected": 1.2e-5, "osmis": 1.5e-5}
_GPU_STEP_SECONDS, _GPU_STEP_SECONDS_PER_PX = 0.011, 2.0e-7
"""What the host draws for a step, which hardly depends on its size, and the GPU's work."""
_GPU_SEARCH_SPEEDUP = 40.0
"""A guess."""
_SAMPLE_SECONDS_PER_PX = 5e-6
_SEARCH_SECONDS_PER_PX2 = 2.4e-9
"""Refinement's exact search compares all positions of the training size with one another."""
_SCREENING_SECONDS: dict[Method, float] = {"projected": 0.25, "osmis": 0.0}
"""A sample's candidates drawn and judged, and its share of getting to know the source."""
_DEFAULT_SET_SIZE = 100
_START_SECONDS = 20.0
TYPICAL_OUTPUT_PX = 600 * 400


def step_seconds(method: Method, train_px: int, *, has_gpu: bool) -> float:
    """Estimated seconds that one training step takes on a frame of so many pixels."""
    if has_gpu:
        return _GPU_STEP_SECONDS + _GPU_STEP_SECONDS_PER_PX * train_px
    return _STEP_SECONDS_PER_PX[method] * train_px


def job_seconds(
    method: Method,
    *,
    train_px: int,
    output_px: int,
    iterations: int | None,
    training_seconds: float | None,
    has_gpu: bool,
) -> float:
    """Estimated seconds for the whole job: training, then 100 samples refined and scored."""
    training = training_seconds or 0.0
    if iterations is not None:
        training = iterations * step_seconds(method, train_px, has_gpu=has_gpu)
    search = _SEARCH_SECONDS_PER_PX2 * train_px**2
    if has_gpu:
        search /= _GPU_SEARCH_SPEEDUP
    sample = _SAMPLE_SECONDS_PER_PX * output_px + search + _SCREENING_SECONDS[method]
    samples = _DEFAULT_SET_SIZE * sample
    return round(_START_SECONDS + training + samples, 1)


def typical_seconds(preset: Preset, *, has_gpu: bool) -> float:
    """Estimated seconds of a whole job with a 600×400 image."""
    height, width = preset.typical_train_hw
    return job_seconds(
        preset.method,
        train_px=height * width,
        output_px=TYPICAL_OUTPUT_PX,
        iterations=preset.iterations,
        training_seconds=preset.training_seconds,
        has_gpu=has_gpu,
    )
