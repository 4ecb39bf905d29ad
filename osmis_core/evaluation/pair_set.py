"""Which files of a set belong together, checked once and decoded on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from osmis_core.data.decode import decode_image
from osmis_core.data.pair import U8, Notice
from osmis_core.data.raw_mask import load_mask
from osmis_core.errors import PairError
from osmis_core.evaluation.files import EvaluationError, Limits, SetFiles, open_files
from osmis_core.evaluation.sample_masks import Meaning, MeaningVote, SourceLabels

MIN_SIDE_PX = 16
"""What the scoring networks need."""

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
_LAYOUT_HINT = (
    "Put images into images/ and their masks into masks/, with the same names up to the extension."
)


class PairSet:
    """Pairs of a set in order of their names; nothing but names is kept in memory.

    Attributes:
        names: stems of the judged pairs.
        available: pairs that the set holds.
        sizes: height and width of each judged pair, in pixels.
        notices: what was left out or concluded.
    """

    def __init__(
        self,
        files: SetFiles,
        pairs: Sequence[tuple[str, str]],
        labels: SourceLabels,
        notices: list[Notice],
        *,
        available: int,
    ) -> None:
        self.names = tuple(PurePosixPath(image).stem for image, _ in pairs)
        self.available = available
        self.sizes: list[tuple[int, int]] = []
        self.notices = notices
        self._files = files
        self._pairs = tuple(pairs)
        self._labels = labels
        self._meaning: Meaning = "index"

    def __len__(self) -> int:
        """Judged pairs."""
        return len(self._pairs)

    def image(self, index: int) -> U8:
        """An image at its own size: uint8 sRGB, shape (H, W, 3)."""
        name = self._pairs[index][0]
        with _named(name):
            return decode_image(self._files.read(name), self._labels.max_pixels).image_HWC

    def mask(self, index: int) -> U8:
        """Its classes in [0, K), 255 without a label; shape (H, W)."""
        name = self._pairs[index][1]
        with _named(name):
            return self._labels.classes(self._files.read(name), self._meaning)

    def check(self, on_done: Callable[[int, int], None]) -> None:
        """Decodes every judged pair once, so that errors come before any figure.

        Args:
            on_done: told (done, total) after every pair.

        Raises:
            EvaluationError: an image or mask can't be read, their sizes differ, or a mask has a
                value that is no class.
        """
        vote = MeaningVote(self._labels)
        for index, (image_name, mask_name) in enumerate(self._pairs):
            shape = self.image(index).shape[:2]
            content = self._files.read(mask_name)
            with _named(mask_name):
                raw = load_mask(content, "auto", self._labels.max_pixels)
                _check_shapes(image_name, mask_name, shape, raw.labels_HW.shape)
                vote.see(mask_name, raw, content)
            self.sizes.append((shape[0], shape[1]))
            on_done(index + 1, len(self))
        self._meaning = vote.decide()
        if self._meaning == "source":
            self.notices.append(
                Notice(
                    code="masks_as_source",
                    detail="Masks hold the source mask's own values and were read like it.",
                )
            )


@contextmanager
def open_pair_set(
    path: Path, labels: SourceLabels, *, limit: int | None = None, limits: Limits | None = None
) -> Iterator[PairSet]:
    """Opens a set: a zip or folder with ``images/`` and ``masks/``.

    In a zip both may lie in one folder; other folders (``rejected/``, ``original/``) are no part of
    the set.

    Args:
        path: of the zip or folder.
        labels: how the source's mask stores its classes.
        limit: the first so many pairs by name are judged; all of them where None.
        limits: what is read at most.

    Raises:
        EvaluationError: ``not_found``, ``not_a_set``, ``broken_archive``, ``too_many_entries``,
            ``unsafe_name``, ``no_pairs`` or ``ambiguous_pair``.
    """
    with open_files(path, limits or Limits()) as files:
        notices: list[Notice] = []
        pairs = _paired(files.names, notices)
        if not pairs:
            raise EvaluationError(
                f"{path.name} holds no image with a mask of the same name",
                hint=_LAYOUT_HINT,
                code="no_pairs",
            )
        judged = pairs[: limit or None]
        if len(judged) < len(pairs):
            notices.append(
                Notice(
                    code="limited",
                    detail=f"The first {len(judged)} of {len(pairs)} pairs by name are measured.",
                )
            )
        yield PairSet(files, judged, labels, notices, available=len(pairs))


def _paired(names: Sequence[str], notices: list[Notice]) -> list[tuple[str, str]]:
    """Images and masks with equal stems, in order of the stems."""
    root = _root(names)
    images, masks = (_by_stem(names, f"{root}{folder}/") for folder in ("images", "masks"))
    for found, other, what in ((images, masks, "images"), (masks, images, "masks")):
        lonely = sorted(found.keys() - other.keys())
        if lonely and len(lonely) < len(found):
            partner = "mask" if what == "images" else "image"
            notices.append(
                Notice(
                    code="unpaired",
                    detail=f"{len(lonely)} {what} without a {partner} were left out,"
                    f" {lonely[0]} first.",
                )
            )
    return [(images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())]


def _root(names: Sequence[str]) -> str:
    """Where images/ and masks/ lie: at the top, else in the one folder that has both."""
    parents: dict[str, set[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) in {2, 3} and parts[0] != "__MACOSX":
            root = f"{parts[0]}/" if len(parts) == 3 else ""
            parents.setdefault(root, set()).add(parts[-2])
    complete = sorted(root for root, found in parents.items() if {"images", "masks"} <= found)
    if "" in complete or not complete:
        return ""
    if len(complete) > 1:
        raise EvaluationError(
            f"several folders have images/ and masks/: {', '.join(complete)}",
            hint="Give one set at a time.",
            code="no_pairs",
        )
    return complete[0]


def _by_stem(names: Sequence[str], folder: str) -> dict[str, str]:
    found = [
        PurePosixPath(name) for name in names if str(PurePosixPath(name).parent) + "/" == folder
    ]
    pictures = [p for p in found if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".")]
    doubled = [stem for stem, count in Counter(p.stem for p in pictures).items() if count > 1]
    if doubled:
        raise EvaluationError(
            f"{folder} has several files named {min(doubled)!r}",
            hint="One file a name: images and masks are matched by their names without extension.",
            code="ambiguous_pair",
        )
    return {p.stem: str(p) for p in pictures}


def _check_shapes(
    image_name: str, mask_name: str, shape: tuple[int, ...], mask_shape: tuple[int, ...]
) -> None:
    height, width = shape
    if shape != mask_shape:
        raise EvaluationError(
            f"{image_name} has {width}×{height} pixels, {mask_name} {mask_shape[1]}×"
            f"{mask_shape[0]}",
            hint="A mask labels its own image pixel by pixel: resize it with nearest neighbour.",
            code="size_mismatch",
        )
    if min(shape) < MIN_SIDE_PX:
        raise EvaluationError(
            f"{image_name} has {width}×{height} pixels; at least {MIN_SIDE_PX} a side are needed",
            hint="Give the images themselves rather than thumbnails.",
            code="too_small",
        )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Says which file an error is about."""
    try:
        yield
    except PairError as error:
        raise EvaluationError(
            f"{name}: {error.detail}", hint=error.hint, code=error.code
        ) from error
