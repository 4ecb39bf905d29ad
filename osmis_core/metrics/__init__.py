"""How good a generated set is: distances to the source, diversity, masks, usefulness.

By name: ``sifid`` (InceptionV3 alone) and ``image_distance`` (the same formula, network named),
``mean_pairwise_lpips`` (diversity; with ``LpipsDistance(input_range="unit")`` the paper's variant),
``lpips_to_source``, ``unet_miou``, ``verbatim_source_share``, ``class_areas``, ``class_faults``,
``novelty`` and ``layout_diversity`` (layout IoU). All of them take arrays and know nothing of who
made the images; ``osmis_core.evaluation`` measures a whole set with them.
"""

from __future__ import annotations

from osmis_core.metrics.features import ScoringNetwork, load_scoring_network
from osmis_core.metrics.frechet import FrechetReference, single_image_frechet
from osmis_core.metrics.image_distance import ImageDistance, image_distance, sifid
from osmis_core.metrics.layout_match import LayoutMatcher, Match, novel_share, novelty
from osmis_core.metrics.lpips import LpipsDistance, lpips_to_source, mean_pairwise_lpips
from osmis_core.metrics.masks import (
    ClassArea,
    ClassFaults,
    class_areas,
    class_faults,
    foreground_iou,
    layout_diversity,
)
from osmis_core.metrics.scoring import SourceScorer
from osmis_core.metrics.unet import UnetOptions, unet_miou
from osmis_core.metrics.verbatim import VerbatimMatcher, verbatim_source_share

__all__ = [
    "ClassArea",
    "ClassFaults",
    "FrechetReference",
    "ImageDistance",
    "LayoutMatcher",
    "LpipsDistance",
    "Match",
    "ScoringNetwork",
    "SourceScorer",
    "UnetOptions",
    "VerbatimMatcher",
    "class_areas",
    "class_faults",
    "foreground_iou",
    "image_distance",
    "layout_diversity",
    "load_scoring_network",
    "lpips_to_source",
    "mean_pairwise_lpips",
    "novel_share",
    "novelty",
    "sifid",
    "single_image_frechet",
    "unet_miou",
    "verbatim_source_share",
]
