"""From a checkpoint to a training set: generate, refine, score, curate, pack.

Every stage goes over all samples before the next begins, by way of a working folder, so that
memory stays flat whatever n.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from osmis_core.candidates import Choice, draw_samples
from osmis_core.curation import Verdict, curate
from osmis_core.data.pair import U8, Pair
from osmis_core.data.size_plan import resize_pair
from osmis_core.errors import OsmisError
from osmis_core.export.archive import ArchiveSummary, ExportItem, write_archive
from osmis_core.generation import CoarsePair, Sampler
from osmis_core.metrics.features import load_scoring_network
from osmis_core.metrics.layout_match import LayoutMatcher
from osmis_core.metrics.masks import class_faults, layout_diversity
from osmis_core.metrics.scoring import SourceScorer
from osmis_core.models.frozen_features import NETWORK_NAME
from osmis_core.pixels import resize_sample, to_classes, to_grey, to_u8
from osmis_core.refinement import refiner_on
from osmis_core.screening import ShapeScreen, screen_of
from osmis_core.training.collapse import LEARNED_FROM_STEP, CollapseWatch, collapsed
from osmis_core.training.real_pairs import source_tensors

Stage = Literal["generating", "refining", "scoring", "packing"]
OnStage = Callable[[Stage, int, int], None]

COARSE_PNG_LEVEL = 1
LAYOUT_SAMPLES = 100
"""Masks that the layout metrics of a set are computed on, at most."""
NO_LAYOUT_METRICS = {
    "novel_share": None,
    "layout_iou": None,
    "layout_samples": 0,
    "class_fault_share": None,
}
"""Of a set of images without masks."""


class InterruptedSetError(OsmisError):
    """Asked to stop before the set was finished; nothing was written to the archive's path."""

    code = "interrupted"


@dataclass(frozen=True, kw_only=True)
class SampleSetRequest:
    """Which set.

    Attributes:
        n: pairs to generate, 1 to 10 000.
        reject_fraction: share to reject by rank, in [0, 1).
        seed: with an index, all that decides a sample.
        refine: bring samples to the output size with the source's own detail.
        screen: of several candidates take one whose objects are shaped as the source's are, and
            that is unlike the samples before; where the training was shown views of the source.
        output_h: height to deliver in pixels; the training size's when None.
        output_w: width to deliver in pixels.
        inception_weights: InceptionV3 weights for SIFID; without them another network scores.
        inception_sha256: expected hash of that file.
        device: ``auto``, ``cpu``, ``cuda``.
    """

    n: int = 100
    reject_fraction: float = 0.15
    seed: int = 0
    refine: bool = True
    screen: bool = True
    output_h: int | None = None
    output_w: int | None = None
    inception_weights: Path | None = None
    inception_sha256: str | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class SampleSetResult:
    """What was made.

    Attributes:
        summary: of the archive: size, hash, kept, rejected, contact sheet.
        items: one a sample: index, seed, candidate, strangeness, kept, reason, score, ranks,
            distances, verbatim_share.
        metrics: of the kept samples, each with the network it was measured on.
        manifest: as in the zip.
    """

    summary: ArchiveSummary
    items: list[dict[str, Any]]
    metrics: dict[str, Any]
    manifest: dict[str, Any] = field(repr=False)


def make_sample_set(
    pair: Pair,
    checkpoint: Path,
    request: SampleSetRequest,
    archive_path: Path,
    *,
    on_stage: OnStage,
    should_stop: Callable[[], bool],
    provenance: dict[str, Any] | None = None,
) -> SampleSetResult:
    """Makes a set and writes its zip.

    Args:
        pair: the source.
        checkpoint: a trained checkpoint of this pair.
        request: which set.
        archive_path: where the zip goes, whole or not at all.
        on_stage: told (stage, done, total) after every sample.
        should_stop: asked after every sample.
        provenance: more for the manifest: job id, input hashes, checkpoint hash.

    Raises:
        InterruptedSetError: ``should_stop`` said so.
        CheckpointError: the checkpoint can't be read.
    """
    with tempfile.TemporaryDirectory(dir=archive_path.parent, prefix="set-") as folder:
        maker = _SetMaker(pair, checkpoint, request, Path(folder), on_stage, should_stop)
        return maker.make(archive_path, provenance or {})


class _SetMaker:
    """The stages of one set, and the working folder between them."""

    def __init__(
        self,
        pair: Pair,
        checkpoint: Path,
        request: SampleSetRequest,
        folder: Path,
        on_stage: OnStage,
        should_stop: Callable[[], bool],
    ) -> None:
        self.pair, self.request, self.folder = pair, request, folder
        self.on_stage, self.should_stop = on_stage, should_stop
        self.sampler = Sampler(checkpoint, request.device)
        size = self.sampler.config.size
        self.coarse_hw = (size.content_h, size.content_w)
        self.output_hw = (request.output_h or size.content_h, request.output_w or size.content_w)
        self.screen: ShapeScreen | None = None
        self.choices: list[Choice] = []
        self.verbatim: list[float | None] = [None] * request.n
        self.scoring_name = ""
        self.layer_names: tuple[str, ...] = ()
        self.left_out: tuple[str, ...] = ()

    def make(self, archive_path: Path, provenance: dict[str, Any]) -> SampleSetResult:
        self._refuse_collapsed()
        self._generate()
        self._refine()
        distances_NL = self._score()
        verdicts = curate(distances_NL, self.request.reject_fraction, self.layer_names)
        metrics = self._metrics(distances_NL, verdicts)
        manifest = self._manifest(metrics, provenance)
        partial = self.folder / "set.zip"
        summary = write_archive(
            partial, self._items(distances_NL, verdicts), pair=self.pair, manifest=manifest
        )
        partial.replace(archive_path)
        items = [self._describe(i, verdict, distances_NL[i]) for i, verdict in enumerate(verdicts)]
        return SampleSetResult(summary=summary, items=items, metrics=metrics, manifest=manifest)

    def _told(self, stage: Stage) -> Iterator[int]:
        """Indices 0 … n − 1, telling the stage's progress and obeying a stop."""
        total = self.request.n
        self.on_stage(stage, 0, total)
        for i in range(total):
            yield i
            self.on_stage(stage, i + 1, total)
            self._obey(stage)

    def _obey(self, stage: Stage) -> None:
        if self.should_stop():
            raise InterruptedSetError(f"stopped while {stage}", hint="Ask for the set again.")

    def _refuse_collapsed(self) -> None:
        """A training that was finished early is not looked at again before its set is wanted."""
        sampler = self.sampler
        if sampler.step < LEARNED_FROM_STEP:
            return
        watch = CollapseWatch(source_tensors(self.pair, sampler.config.size))
        finding = watch.find(sampler.generator, sampler.config)
        if finding:
            raise collapsed(finding, sampler.config, sampler.step)

    def _generate(self) -> None:
        for i, (coarse, choice) in zip(self._told("generating"), self._drawn(), strict=True):
            self.choices.append(choice)
            np.savez(
                self.folder / f"coarse-{i:06d}.npz",
                image=coarse.image_HWC.astype(np.float16),
                mask=coarse.mask_HWK.astype(np.float16),
            )

    def _drawn(self) -> Iterator[tuple[CoarsePair, Choice]]:
        config = self.sampler.config
        if self.request.screen and config.layout_views and self.pair.has_mask:
            self.screen = screen_of(self.pair, config.size, config.seed)
        yield from draw_samples(self.sampler, self.request.seed, self.request.n, self.screen)

    def _refine(self) -> None:
        for i, delivered in zip(self._told("refining"), self._at_output_size(), strict=True):
            image_HWC, mask_HW, self.verbatim[i] = delivered
            if self.pair.is_grey:
                image_HWC = to_grey(image_HWC)
            for name, array in (("image", image_HWC), ("mask", mask_HW)):
                file = self.folder / f"{name}-{i:06d}.png"
                Image.fromarray(array).save(file, compress_level=COARSE_PNG_LEVEL)

    def _at_output_size(self) -> Iterator[tuple[U8, U8, float | None]]:
        """Image, mask and verbatim share of every sample."""
        if not self.request.refine:
            for coarse in self._coarse():
                yield *resize_sample(coarse, self.output_hw), None
            return
        refiner = refiner_on(
            self.sampler.device,
            self.pair.image_HWC,
            self.pair.mask_HW,
            self.pair.class_count,
            self.coarse_hw,
            self.output_hw,
        )
        samples = ((pair.image_HWC, pair.mask_HWK, i) for i, pair in enumerate(self._coarse()))
        for refined in refiner.refine_each(samples):
            yield refined.image_HWC, refined.mask_HW, refined.verbatim_share

    def _coarse(self) -> Iterator[CoarsePair]:
        """The generated samples; each one's file goes as it is read."""
        for i in range(self.request.n):
            path = self.folder / f"coarse-{i:06d}.npz"
            with np.load(path) as arrays:
                coarse = CoarsePair(
                    arrays["image"].astype(np.float32), arrays["mask"].astype(np.float32)
                )
            path.unlink()
            yield coarse

    def _score(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        network = load_scoring_network(
            self.request.inception_weights, self.request.inception_sha256
        )
        height, width = self.output_hw
        source_HWC, shares_HWK = resize_pair(self.pair, height, width)
        source_HW = to_classes(shares_HWK) if self.pair.has_mask else None
        scorer = SourceScorer(network, to_u8(source_HWC), source_HW)
        self.scoring_name = network.name
        self.layer_names, self.left_out = scorer.layer_names, scorer.left_out
        return np.stack(
            [scorer.distances(self._image(i), self._mask(i)) for i in self._told("scoring")]
        )

    def _items(
        self, distances_NL: np.ndarray[Any, np.dtype[np.float64]], verdicts: list[Verdict]
    ) -> Iterator[ExportItem]:
        for i in self._told("packing"):
            described = self._describe(i, verdicts[i], distances_NL[i])
            yield ExportItem(**described, image_HWC=self._image(i), mask_HW=self._mask(i))

    def _describe(
        self, i: int, verdict: Verdict, distances_L: np.ndarray[Any, np.dtype[np.float64]]
    ) -> dict[str, Any]:
        names = self.layer_names
        return {
            "index": i,
            "seed": self.request.seed,
            "candidate": self.choices[i].candidate,
            "strangeness": self.choices[i].strangeness,
            "kept": verdict.kept,
            "score": verdict.score,
            "distances": dict(zip(names, map(float, distances_L), strict=True)),
            "ranks": dict(zip(names, verdict.ranks, strict=True)),
            "reason": verdict.reason,
            "verbatim_share": self.verbatim[i],
        }

    def _metrics(
        self, distances_NL: np.ndarray[Any, np.dtype[np.float64]], verdicts: list[Verdict]
    ) -> dict[str, Any]:
        kept = [i for i, verdict in enumerate(verdicts) if verdict.kept]
        verbatim = [v for i in kept if (v := self.verbatim[i]) is not None]
        means = distances_NL[kept].mean(0)
        return {
            "distance": dict(zip(self.layer_names, map(float, means), strict=True)),
            "distance_name": self.scoring_name,
            **(self._layout_metrics(kept) if self.pair.has_mask else NO_LAYOUT_METRICS),
            "verbatim_share": float(np.mean(verbatim)) if verbatim else None,
            "screening": self._screening() if self.screen else None,
        }

    def _screening(self) -> dict[str, Any]:
        """What the screening came to: candidates drawn for a sample, and samples that passed."""
        return {
            "candidates_drawn": float(np.mean([c.candidates_drawn for c in self.choices])),
            "plausible_share": float(np.mean([c.is_plausible for c in self.choices])),
        }

    def _layout_metrics(self, kept: list[int]) -> dict[str, Any]:
        """What the kept samples' masks say."""
        masks = [self._mask(i) for i in kept[:LAYOUT_SAMPLES]]
        matcher = LayoutMatcher(self.pair.mask_HW)
        novel = []
        for mask_HW in masks:
            novel.append(matcher.match(mask_HW).is_novel)
            self._obey("scoring")
        faulty = [bool(class_faults(m, self.pair.mask_HW, self.pair.class_count)) for m in masks]
        return {
            "novel_share": float(np.mean(novel)),
            "layout_iou": layout_diversity(masks) if len(masks) > 1 else None,
            "layout_samples": len(masks),
            "class_fault_share": float(np.mean(faulty)),
        }

    def _manifest(self, metrics: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
        request = asdict(self.request)
        for private in ("inception_weights", "device"):
            del request[private]
        config = self.sampler.config
        return {
            **provenance,
            "request": request,
            "training_step": self.sampler.step,
            "effective_config": config.to_dict(),
            "pre_trained_network": NETWORK_NAME if config.method == "projected" else None,
            "scoring": {
                "name": self.scoring_name,
                "layers": list(self.layer_names),
                "left_out": list(self.left_out),
            },
            "metrics": metrics,
            "classes": list(self.pair.class_names) if self.pair.has_mask else [],
            "mask_encoding": {
                "read_as": self.pair.encoding,
                "declared": self.pair.encoding_declared,
            },
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("onepair", "torch", "numpy", "pillow")},
        }

    def _image(self, i: int) -> U8:
        with Image.open(self.folder / f"image-{i:06d}.png") as image:
            return np.asarray(image)

    def _mask(self, i: int) -> U8:
        with Image.open(self.folder / f"mask-{i:06d}.png") as mask:
            return np.asarray(mask)
