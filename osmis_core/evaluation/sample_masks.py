"""What the values of generated masks mean: class indices, or what the source's mask stores.

OnePair writes class indices; another tool may repeat the source's black and white or its colours.
One meaning holds for the whole set: indices if all its values can be indices, otherwise the
source's own values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from osmis_core.data.pair import IGNORE, U8, Pair
from osmis_core.data.raw_mask import Labels, RawMask, load_mask
from osmis_core.data.reader import ReadOptions
from osmis_core.evaluation.files import EvaluationError

Meaning = Literal["index", "source"]
_GREY = 0x010101


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceLabels:
    """How the source's mask stores its classes.

    Attributes:
        class_names: K names by index.
        stored: class index by stored value, colours as 0xRRGGBB.
        is_colour: the stored values are colours.
        ignored: stored value without a label.
        max_pixels: larger masks are refused before they are loaded.
    """

    class_names: tuple[str, ...]
    stored: dict[int, int]
    is_colour: bool
    ignored: int | None
    max_pixels: int

    @classmethod
    def of(cls, pair: Pair, mask: bytes, options: ReadOptions) -> SourceLabels:
        """From a pair that was read with ``options``, and its mask file."""
        raw = load_mask(mask, options.mask_encoding, options.max_pixels)
        present = np.unique(pair.mask_HW[pair.mask_HW != IGNORE]).tolist()
        ignored = options.ignore_index
        if ignored is not None and raw.is_colour:
            ignored *= _GREY
        return cls(
            class_names=pair.class_names,
            stored={int(raw.labels_HW[pair.mask_HW == k][0]): int(k) for k in present},
            is_colour=raw.is_colour,
            ignored=ignored,
            max_pixels=options.max_pixels,
        )

    def classes(self, content: bytes, meaning: Meaning) -> U8:
        """A sample's mask as class indices, (H, W); what has no label is 255.

        Args:
            content: a mask file that ``MeaningVote`` has seen.
            meaning: what the set's values mean.
        """
        labels_HW = self._labels(load_mask(content, "auto", self.max_pixels), content, meaning)
        table = np.full(int(labels_HW.max()) + 1, IGNORE, dtype=np.uint8)
        for value, index in self.table(meaning).items():
            if value < len(table):
                table[value] = index
        mask_HW: U8 = table[labels_HW]
        return mask_HW

    def table(self, meaning: Meaning) -> dict[int, int]:
        """Class index (or 255) by value."""
        classes = self.stored
        if meaning == "index":
            classes = {k: k for k in range(len(self.class_names))}
        ignored = {} if self.ignored is None else {self.ignored: IGNORE}
        if self.ignored is not None and meaning == "index":
            ignored[IGNORE] = IGNORE
        return {**ignored, **classes}

    def unknown(self, raw: RawMask, content: bytes, meaning: Meaning) -> list[int]:
        """Values of a mask that mean nothing."""
        labels_HW = self._labels(raw, content, meaning)
        seen = np.zeros(int(labels_HW.max()) + 1, dtype=np.bool_)
        seen[labels_HW.ravel()] = True
        return sorted(set(np.flatnonzero(seen).tolist()) - set(self.table(meaning)))

    def _labels(self, raw: RawMask, content: bytes, meaning: Meaning) -> Labels:
        """The values to look up: colours where the source has colours, else as stored."""
        if meaning == "index" or not self.is_colour or raw.is_colour:
            return raw.labels_HW
        return load_mask(content, "rgb", self.max_pixels).labels_HW


@dataclass
class MeaningVote:
    """Which meanings the masks of a set allow, learned file by file.

    Attributes:
        source: how the source stores its classes.
        misfits: by meaning, the first file that rules it out and its values.
    """

    source: SourceLabels
    misfits: dict[Meaning, tuple[str, list[int], bool]] = field(default_factory=dict)

    def see(self, name: str, raw: RawMask, content: bytes) -> None:
        """Looks at one mask."""
        meanings: tuple[Meaning, ...] = ("index", "source")
        for meaning in meanings:
            if meaning in self.misfits:
                continue
            unknown = self.source.unknown(raw, content, meaning)
            # colours are no indices, black included
            if unknown or (raw.is_colour and (meaning == "index" or not self.source.is_colour)):
                self.misfits[meaning] = name, unknown, raw.is_colour

    def decide(self) -> Meaning:
        """The set's meaning.

        Raises:
            EvaluationError: ``undeclared_class``: neither fits all masks.
        """
        if "index" not in self.misfits:
            return "index"
        if "source" not in self.misfits:
            return "source"
        known = ", ".join(self._written(value) for value in sorted(self.source.stored))
        names = self.source.class_names
        found = _described(*self.misfits["index"])
        if self.misfits["index"][0] != self.misfits["source"][0]:
            found += f", and {_described(*self.misfits['source'])}"
        raise EvaluationError(
            f"{found}: no class of the source",
            hint=f"All masks hold class indices, 0 to {len(names) - 1} ({', '.join(names)}), or all"
            f" hold the source mask's own values ({known}). If the source lacks a class, name it"
            " with --classes; if a value marks unlabelled pixels, declare it with --ignore-index.",
            code="undeclared_class",
        )

    def _written(self, value: int) -> str:
        return f"#{value:06x}" if self.source.is_colour else str(value)


def _described(name: str, values: list[int], is_colour: bool) -> str:
    shown = ", ".join(f"#{v:06x}" if is_colour else str(v) for v in values[:5])
    return f"{name} has {f'the values {shown}' if shown else 'colours'}"
