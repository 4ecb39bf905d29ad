"""Connected components of a mask's foreground: the objects that layouts are made of."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]


@numba.njit(cache=True)
def _flood(foreground_HW: npt.NDArray[np.bool_]) -> tuple[I32, int]:
    height, width = foreground_HW.shape
    labels = np.zeros((height, width), np.int32)
    stack = np.empty((height * width, 2), np.int32)
    count = 0
    for y0 in range(height):
        for x0 in range(width):
            if not foreground_HW[y0, x0] or labels[y0, x0]:
                continue
            count += 1
            labels[y0, x0] = count
            stack[0, 0], stack[0, 1], top = y0, x0, 1
            while top:
                top -= 1
                cy, cx = stack[top, 0], stack[top, 1]
                for y in range(max(cy - 1, 0), min(cy + 2, height)):
                    for x in range(max(cx - 1, 0), min(cx + 2, width)):
                        if foreground_HW[y, x] and not labels[y, x]:
                            labels[y, x] = count
                            stack[top, 0], stack[top, 1] = y, x
                            top += 1
    return labels, count


def connected_components(foreground_HW: npt.NDArray[np.bool_]) -> tuple[I32, int]:
    """Labels 8-connected components.

    Returns:
        Labels of shape (H, W), 0 outside, 1…n inside, in reading order; and n.
    """
    labels, count = _flood(np.ascontiguousarray(foreground_HW, dtype=np.bool_))
    return labels, int(count)
