"""All metrics of a set as one JSON value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from osmis_core.data.pair import Notice
from osmis_core.data.reader import ReadOptions, read_pair
from osmis_core.evaluation import measures
from osmis_core.evaluation.files import Limits
from osmis_core.evaluation.measures import Subject
from osmis_core.evaluation.pair_set import open_pair_set
from osmis_core.evaluation.sample_masks import SourceLabels
from osmis_core.metrics.features import ScoringNetwork, load_scoring_network
from osmis_core.metrics.shift_tolerant import ScoringWeightsError

OnStage = Callable[[str, int, int], None]

STAGES = ("reading", "distance", "sifid", "verbatim", "lpips", "layouts", "unet")
NO_INCEPTION = "SIFID needs InceptionV3 weights: --inception-weights and --inception-sha256"
ONE_CLASS = "a U-Net needs two classes to tell apart"
ONE_SAMPLE = "needs at least two samples"
NO_TEXTURE = "no image has a patch with texture"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How to measure.

    Attributes:
        read: how to read the source pair, and the values of the set's masks.
        limit: the first so many pairs are judged; all of them where None. Compare sets with equal
            counts.
        unet: train the U-Nets, by far the longest part.
        unet_repeats: how many, each from another seed; three for figures to publish.
        inception_weights: InceptionV3 weights for SIFID.
        inception_sha256: what that file must hash to.
        limits: what is read at most.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    limit: int | None = 100
    unet: bool = True
    unet_repeats: int = 1
    inception_weights: Path | None = None
    inception_sha256: str | None = None
    limits: Limits = field(default_factory=Limits)


def evaluate(
    pairs_path: Path,
    image: Path,
    mask: Path,
    options: EvaluationOptions | None = None,
    *,
    on_stage: OnStage = lambda *_: None,
) -> dict[str, Any]:
    """Measures a set of pairs against its source.

    Args:
        pairs_path: a zip or folder with images/ and masks/, whoever made it.
        image: the source's image.
        mask: the source's mask.
        options: see ``EvaluationOptions``.
        on_stage: told (one of ``STAGES``, done, total).

    Returns:
        JSON-able: ``set``, ``source``, ``metrics`` (null where not measured), ``not_measured``
        (why), ``notices``, ``versions``. docs/evaluation.md says what each metric means.

    Raises:
        PairError: the source can't be used.
        EvaluationError: the set can't.
        ScoringWeightsError: the InceptionV3 weights are not what was declared.
    """
    chosen = options or EvaluationOptions()
    pair = read_pair(image, mask, chosen.read)
    labels = SourceLabels.of(pair, mask.read_bytes(), chosen.read)
    inception = None
    if chosen.inception_weights is not None:
        inception = load_scoring_network(
            chosen.inception_weights, chosen.inception_sha256, fast=False
        )
    with open_pair_set(pairs_path, labels, limit=chosen.limit, limits=chosen.limits) as pairs:
        pairs.check(lambda done, total: on_stage("reading", done, total))
        subject = Subject.of(pair, pairs)
        metrics, not_measured = _Measurer(subject, chosen, inception, on_stage).all()
        return {
            "set": {"name": pairs_path.name, "pairs": pairs.available, "judged": len(pairs)},
            "source": {
                "height": pair.height,
                "width": pair.width,
                "classes": list(pair.class_names),
                "mask_read_as": pair.encoding,
            },
            "metrics": metrics,
            "not_measured": not_measured,
            "notices": [
                asdict(notice)
                for notice in (*pair.notices, *pairs.notices, *_size_notices(subject))
            ],
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("onepair", "torch", "numpy", "pillow")},
        }


class _Measurer:
    """Runs the metrics in the order of ``STAGES`` and writes down what could not be measured."""

    def __init__(
        self,
        subject: Subject,
        options: EvaluationOptions,
        inception: ScoringNetwork | None,
        on_stage: OnStage,
    ) -> None:
        self.subject, self.options, self.inception = subject, options, inception
        self.on_stage = on_stage
        self.not_measured: dict[str, str] = {}

    def all(self) -> tuple[dict[str, Any], dict[str, str]]:
        subject = self.subject
        network = load_scoring_network(fast=False)
        metrics: dict[str, Any] = {
            "image_distance": measures.distances(subject, network, self._telling("distance")),
            "sifid": self._sifid(),
            "verbatim_share": measures.verbatim(subject, self._telling("verbatim")),
            "lpips_to_source": measures.to_source(subject, self._telling("lpips")),
            "lpips_diversity": measures.diversity(subject, "signed"),
            "lpips_diversity_unit_range": measures.diversity(subject, "unit"),
            **measures.layouts(subject, self._telling("layouts")),
            "classes": measures.classes(subject),
            "unet_miou": self._unet(),
        }
        if len(subject.pairs) < 2:
            for name in ("lpips_diversity", "lpips_diversity_unit_range", "layout_iou"):
                self.not_measured[name] = ONE_SAMPLE
        if metrics["verbatim_share"] is None:
            self.not_measured["verbatim_share"] = NO_TEXTURE
        return metrics, self.not_measured

    def _telling(self, stage: str) -> measures.OnDone:
        return lambda done, total: self.on_stage(stage, done, total)

    def _sifid(self) -> dict[str, Any] | None:
        if self.inception is None:
            self.not_measured["sifid"] = NO_INCEPTION
            return None
        try:
            return measures.distances(self.subject, self.inception, self._telling("sifid"))
        except ScoringWeightsError as error:
            if error.code != "too_small_to_score":
                raise
            self.not_measured["sifid"] = error.detail
            return None

    def _unet(self) -> dict[str, Any] | None:
        if not self.options.unet:
            self.not_measured["unet_miou"] = "switched off"
            return None
        found = measures.usefulness(self.subject, self.options.unet_repeats, self._telling("unet"))
        if found is None:
            self.not_measured["unet_miou"] = ONE_CLASS
        return found


def _size_notices(subject: Subject) -> list[Notice]:
    """Says which samples were resized to be compared."""
    source = (subject.pair.height, subject.pair.width)
    others = [size for size in subject.pairs.sizes if size != source]
    if not others:
        return []
    notices = [
        Notice(
            code="resized",
            detail=f"{len(others)} of {len(subject.pairs)} samples are not {source[1]}×{source[0]}"
            f" like the source (the first: {others[0][1]}×{others[0][0]}) and were resized to be"
            " compared (Lanczos, masks by nearest neighbour).",
        )
    ]
    bent = [size for size in others if not measures.same_aspect(size, source)]
    if bent:
        notices.append(
            Notice(
                code="aspect_changed",
                detail=f"{len(bent)} of them have another aspect ratio than the source and were"
                " distorted: distances and layouts of these say little.",
            )
        )
    return notices
