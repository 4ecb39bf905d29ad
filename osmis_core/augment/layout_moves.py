"""Moves on the grid of a feature map: whose features stand where afterwards.

A scene is an array of cell indices, so a move invents no features, and one gather at the end
applies all of them to features and mask alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osmis_core.augment.components import connected_components

Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]
Window = tuple[slice, slice]

PATCH_SHARE = (0.2, 0.5)
"""Sides of background patches, as shares of the map's."""
TRIES = 5
OBJECT_SHARE = 0.5
"""A cell is an object's from this share of the best covered cell's coverage on: thin objects,
which fill no cell, have cells too."""
BACKGROUND_SHARE = 0.5


@dataclass
class Scene:
    """One sample's grid, while its parts are moved.

    Attributes:
        source_HW: the cell, by its index in the flattened batch, whose features stand here.
        labels_HW: the object that stands here, 0 for none. Objects are 8-connected components of
            the foreground: classes that touch belong together, as in layout views.
        background_HW: where there is background. Ignored cells are neither.
    """

    source_HW: Index
    labels_HW: npt.NDArray[np.int32]
    background_HW: Bool

    @classmethod
    def from_mask(cls, mask_KHW: npt.NDArray[np.float32], sample: int) -> Scene:
        """The scene of sample number ``sample``; shares of the classes, background first."""
        height, width = mask_KHW.shape[1:]
        first = sample * height * width
        source_HW = np.arange(first, first + height * width, dtype=np.int64).reshape(height, width)
        foreground_HW = mask_KHW[1:].sum(0)
        most = float(foreground_HW.max(initial=0.0))
        is_object_HW = (foreground_HW > 0) & (foreground_HW >= OBJECT_SHARE * most)
        labels_HW, _ = connected_components(is_object_HW)
        background_HW = (mask_KHW[0] >= BACKGROUND_SHARE) & ~is_object_HW
        return cls(source_HW, labels_HW, background_HW)

    @property
    def objects(self) -> npt.NDArray[np.int32]:
        """Labels of the objects that can be seen."""
        labels: npt.NDArray[np.int32] = np.unique(self.labels_HW)
        return labels[labels > 0]

    def copy(self) -> Scene:
        """A scene to be changed, this one staying as it is."""
        return Scene(self.source_HW.copy(), self.labels_HW.copy(), self.background_HW.copy())


def copy_background(scene: Scene, rng: np.random.Generator) -> None:
    """Copies a background patch over another one."""
    for _ in range(TRIES):
        first, second = _patches(scene, rng)
        if first != second and _is_background(scene, first, second):
            scene.source_HW[second] = scene.source_HW[first].copy()
            return


def swap_background(scene: Scene, rng: np.random.Generator) -> None:
    """Swaps two rectangles that are free of objects and do not overlap."""
    for _ in range(TRIES):
        first, second = _patches(scene, rng)
        if not _overlap(first, second) and _is_background(scene, first, second):
            kept = scene.source_HW[first].copy()
            scene.source_HW[first] = scene.source_HW[second]
            scene.source_HW[second] = kept
            return


def paste_object(scene: Scene, givers: list[Scene], rng: np.random.Generator) -> None:
    """Pastes one object of one of the givers somewhere, on a free place if one is soon found."""
    rich = [giver for giver in givers if giver.labels_HW.any()]
    if rich:
        giver = rich[rng.integers(len(rich))]
        _stamp(scene, giver, int(rng.choice(giver.objects)), rng, only_free=False)


def duplicate_object(scene: Scene, rng: np.random.Generator) -> None:
    """Shows one of the scene's objects a second time, where no object is."""
    if scene.labels_HW.any():
        _stamp(scene, scene.copy(), int(rng.choice(scene.objects)), rng, only_free=True)


def remove_object(scene: Scene, rng: np.random.Generator) -> None:
    """Covers one object with background features, shifted as a whole as far as they reach."""
    if not (scene.labels_HW.any() and scene.background_HW.any()):
        return
    hidden_HW = scene.labels_HW == rng.choice(scene.objects)
    left_HW = hidden_HW.copy()
    for _ in range(TRIES):
        shift = rng.integers(0, left_HW.shape)
        filled_HW = left_HW & np.roll(scene.background_HW, shift, (0, 1))
        scene.source_HW[filled_HW] = np.roll(scene.source_HW, shift, (0, 1))[filled_HW]
        left_HW &= ~filled_HW
    background_N = scene.source_HW[scene.background_HW]
    scene.source_HW[left_HW] = rng.choice(background_N, int(left_HW.sum()))
    scene.labels_HW[hidden_HW] = 0
    scene.background_HW |= hidden_HW


def _stamp(
    scene: Scene, giver: Scene, label: int, rng: np.random.Generator, *, only_free: bool
) -> None:
    """Puts an object of the giver where its whole box fits; ``TRIES`` places are looked at."""
    part_HW = giver.labels_HW == label
    rows, columns = part_HW.any(1).nonzero()[0], part_HW.any(0).nonzero()[0]
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part_hw, source_hw = part_HW[box], giver.source_HW[box]
    for attempt in range(TRIES):
        place = _anywhere(scene, part_hw.shape, rng)
        free = not scene.labels_HW[place][part_hw].any()
        if free or (not only_free and attempt == TRIES - 1):
            scene.source_HW[place][part_hw] = source_hw[part_hw]
            scene.labels_HW[place][part_hw] = scene.labels_HW.max() + 1
            scene.background_HW[place][part_hw] = False
            return


def _patches(scene: Scene, rng: np.random.Generator) -> tuple[Window, Window]:
    """Two rectangles of one size, anywhere in the map."""
    sides = np.rint(rng.uniform(*PATCH_SHARE, 2) * scene.labels_HW.shape).clip(1).astype(int)
    size = (int(sides[0]), int(sides[1]))
    return _anywhere(scene, size, rng), _anywhere(scene, size, rng)


def _anywhere(scene: Scene, size: tuple[int, ...], rng: np.random.Generator) -> Window:
    height, width = scene.labels_HW.shape
    top = int(rng.integers(0, height - size[0] + 1))
    left = int(rng.integers(0, width - size[1] + 1))
    return slice(top, top + size[0]), slice(left, left + size[1])


def _is_background(scene: Scene, *windows: Window) -> bool:
    return all(scene.background_HW[window].all() for window in windows)


def _overlap(first: Window, second: Window) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(first, second, strict=True))
