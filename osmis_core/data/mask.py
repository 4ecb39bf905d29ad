"""Mask encodings: from what a file stores to class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osmis_core.data.pair import IGNORE, U8, Notice
from osmis_core.data.raw_mask import MAX_CLASSES, MaskEncoding, RawMask, lossy, too_many_classes
from osmis_core.errors import PairError

Labels = npt.NDArray[np.int32]
Values = npt.NDArray[np.int64]

_BINARY_MAXIMA = (255, 65535)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadMask:
    """A mask as class indices.

    Attributes:
        mask_HW: uint8 in [0, K) or ``IGNORE``, shape (H, W).
        class_names: K names by index.
        encoding: ``index``, ``binary`` or ``rgb``.
        notices: what was decided on the way.
    """

    mask_HW: U8
    class_names: tuple[str, ...]
    encoding: str
    notices: tuple[Notice, ...]


def interpret_mask(
    raw: RawMask,
    encoding: MaskEncoding,
    class_names: Sequence[str] | None,
    ignore_index: int | None,
) -> ReadMask:
    """Turns stored values into class indices, detecting the encoding where it is not declared.

    Args:
        raw: the loaded mask.
        encoding: declared, or ``auto``.
        class_names: names by index, if the user gave them.
        ignore_index: stored value (for colours: grey level) that carries no label.

    Raises:
        PairError: ``too_many_classes``, ``lossy_mask``, ``undeclared_index``, ``single_class``,
            ``not_binary``, ``encoding_mismatch``, ``bad_classes`` or ``class_count_mismatch``.
    """
    _check_names(class_names)
    notices: list[Notice] = []
    ignored = _ignored_value(raw, ignore_index)
    values = _distinct(raw.labels_HW)
    if ignored is not None and ignored not in values:
        notices.append(
            Notice(code="ignore_unused", detail=f"No pixel has the ignored value {ignore_index}.")
        )
    values = values[values != ignored] if ignored is not None else values
    found = _detect(raw, values, encoding)
    _check_values(raw, values, found, ignored)
    order = _order_colours(raw.labels_HW, values) if found == "rgb" else values
    names, indices = _assign(order, found, class_names, notices)
    mask_HW = _lookup(raw.labels_HW, order, indices)
    notices += _remarks(raw, mask_HW, names, found)
    return ReadMask(mask_HW=mask_HW, class_names=names, encoding=found, notices=tuple(notices))


def _distinct(labels_HW: Labels) -> Values:
    """Distinct labels in ascending order, without sorting the pixels."""
    seen = np.zeros(int(labels_HW.max()) + 1, dtype=np.bool_)
    seen[labels_HW.ravel()] = True
    return np.flatnonzero(seen)


def _lookup(labels_HW: Labels, order: Values, indices: Values) -> U8:
    """Maps labels to class indices; every label that is not listed becomes ``IGNORE``."""
    table = np.full(int(labels_HW.max()) + 1, IGNORE, dtype=np.uint8)
    table[order] = indices
    mask_HW: U8 = table[labels_HW]
    return mask_HW


def _ignored_value(raw: RawMask, ignore_index: int | None) -> int | None:
    if ignore_index is None or not raw.is_colour:
        return ignore_index
    return ignore_index * 0x010101


def _detect(raw: RawMask, values: Values, encoding: MaskEncoding) -> str:
    if encoding == "index" and raw.is_colour:
        raise PairError(
            "the mask is declared as index and has colours",
            hint="Declare mask_encoding=rgb, or save the class indices as an 8-bit grey PNG.",
            code="encoding_mismatch",
        )
    if encoding != "auto":
        return encoding
    if raw.is_colour:
        return "rgb"
    is_binary = len(values) == 2 and values[0] == 0 and int(values[1]) in _BINARY_MAXIMA
    return "binary" if is_binary else "index"


def _check_values(raw: RawMask, values: Values, found: str, ignored: int | None) -> None:
    """Refuses masks whose values can't be class indices."""
    if len(values) > MAX_CLASSES:
        if _share_without_area(raw.labels_HW, values, side_px=3) > 0.5:
            raise lossy(f"most of the mask's {len(values)} values never fill 3×3 pixels")
        kind = "colours" if raw.is_colour else "values"
        raise too_many_classes(f"{len(values)} different {kind}")
    if len(values) > 2 and values[-1] >= MAX_CLASSES and not raw.is_palette:
        share = _share_without_area(raw.labels_HW, values, side_px=2)
        if share >= 0.5 and share * len(values) >= 2:
            raise lossy(
                f"{round(share * len(values))} of the mask's {len(values)} values only appear "
                "along edges"
            )
    if found == "binary" and len(values) > 2:
        raise PairError(
            f"the mask is declared as binary and has {len(values)} values: {_listed(values)}",
            hint="Declare mask_encoding=index, or save it with 0 and 255 only.",
            code="not_binary",
        )
    if found == "index" and IGNORE in values and len(values) > 2 and ignored is None:
        raise PairError(
            f"the mask has the value 255 beside {_listed(values[values != IGNORE])}",
            hint="If 255 marks pixels to ignore, send ignore_index=255; if it is a class, give it "
            "the next free index.",
            code="undeclared_index",
        )
    if len(values) < 2:
        raise PairError(
            f"the mask has {'one class' if len(values) else 'no labelled pixel'} only",
            hint="Mark at least one object against a background.",
            code="single_class",
        )


def _share_without_area(labels_HW: Labels, values: Values, *, side_px: int) -> float:
    """Share of the values that nowhere fill a square: the mark of blended edges."""
    height, width = labels_HW.shape
    corner = labels_HW[: height - side_px + 1, : width - side_px + 1]
    solid = np.ones(corner.shape, dtype=np.bool_)
    for row in range(side_px):
        for column in range(side_px):
            shifted = labels_HW[row : row + corner.shape[0], column : column + corner.shape[1]]
            solid &= shifted == corner
    filled = _distinct(corner[solid]) if solid.any() else np.empty(0, dtype=np.int64)
    return 1.0 - len(np.intersect1d(values, filled)) / len(values)


def _order_colours(labels_HW: Labels, values: Values) -> Values:
    """Background first (black, else the border's most frequent colour), then by colour value."""
    background = 0
    if background not in values:
        border = np.concatenate(
            [labels_HW[0], labels_HW[-1], labels_HW[1:-1, 0], labels_HW[1:-1, -1]]
        )
        found, counts = np.unique(border[np.isin(border, values)], return_counts=True)
        background = int(found[counts.argmax()]) if len(found) else int(values[0])
    return np.concatenate([[background], values[values != background]])


def _assign(
    order: Values, found: str, class_names: Sequence[str] | None, notices: list[Notice]
) -> tuple[tuple[str, ...], Values]:
    """Names of all classes, and the class index of each stored value."""
    consecutive = np.arange(len(order), dtype=np.int64)
    if class_names is not None and found == "index" and int(order[-1]) < len(class_names):
        notices += [
            Notice(code="class_absent", detail=f"No pixel is {class_names[index]!r} ({index}).")
            for index in range(len(class_names))
            if index not in order
        ]
        return tuple(class_names), order
    if class_names is not None and len(class_names) != len(order):
        shown = [f"#{value:06x}" for value in order] if found == "rgb" else _listed(order)
        raise PairError(
            f"{len(class_names)} class names for {len(order)} classes in the mask: {shown}",
            hint="Name every class by index, the background first.",
            code="class_count_mismatch",
        )
    if found == "rgb":
        names = class_names or [f"#{value:06x}" for value in order]
        pairs = ", ".join(f"#{v:06x} is {i}" for i, v in enumerate(order))
        notices.append(Notice(code="colours_indexed", detail=f"Colours became classes: {pairs}."))
    elif found == "binary":
        names = class_names or ["background", "object"]
    else:
        names = class_names or [
            "background" if index == 0 else f"class_{value}" for index, value in enumerate(order)
        ]
        if (order != consecutive).any():
            notices.append(
                Notice(
                    code="indices_compacted",
                    detail=f"The mask's values {_listed(order)} became the class indices 0 to "
                    f"{len(order) - 1}, in this order.",
                )
            )
    return tuple(names), consecutive


def _remarks(raw: RawMask, mask_HW: U8, names: Sequence[str], found: str) -> list[Notice]:
    remarks = []
    if raw.is_turned:
        remarks.append(Notice(code="mask_turned", detail="The mask was turned as EXIF says."))
    if raw.is_palette:
        remarks.append(
            Notice(code="palette_indices", detail="The palette's indices were read as classes.")
        )
    counts = np.bincount(mask_HW.ravel(), minlength=256)[: len(names)]
    labelled = int(counts.sum())
    remarks += [
        Notice(
            code="tiny_class",
            detail=f"{name!r} covers {100 * count / labelled:.3f} % of the image and may not be "
            "learned.",
        )
        for name, count in zip(names, counts, strict=True)
        if 0 < count < labelled / 2000
    ]
    border = np.concatenate([mask_HW[0], mask_HW[-1], mask_HW[:, 0], mask_HW[:, -1]])
    if found == "binary" and counts[1] > 0.5 * labelled and (border == 1).mean() > 0.95:
        remarks.append(
            Notice(
                code="maybe_inverted",
                detail="Almost the whole border is labelled as object: is the mask inverted?",
            )
        )
    return remarks


def _check_names(class_names: Sequence[str] | None) -> None:
    if class_names is None:
        return
    names = [name.strip() for name in class_names]
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) != len(names) or not all(names):
        raise PairError(
            f"{len(names)} class names were given; 2 to {MAX_CLASSES} different ones are needed",
            hint="Name every class by index, the background first.",
            code="bad_classes",
        )


def _listed(values: Values) -> str:
    return ", ".join(str(value) for value in values)
