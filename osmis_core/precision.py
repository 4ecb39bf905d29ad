"""Where mixed precision pays."""

from __future__ import annotations

import torch


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch has no public way to ask a CPU, and emulated bfloat16 is slower than float32
    capability = torch.backends.cpu.get_cpu_capability()
    native: bool = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
    return bool(capability == "AVX512" and native)
