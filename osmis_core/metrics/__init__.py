"""How good a generated set is: distances to the source, diversity, masks, usefulness."""

from __future__ import annotations

from osmis_core.metrics.features import ScoringNetwork, load_scoring_network
from osmis_core.metrics.frechet import FrechetReference, single_image_frechet
from osmis_core.metrics.layout_match import LayoutMatcher, Match, novel_share, novelty
from osmis_core.metrics.lpips import LpipsDistance, mean_pairwise_lpips
from osmis_core.metrics.masks import ClassFaults, class_faults, foreground_iou, layout_diversity
from osmis_core.metrics.scoring import SourceScorer

__all__ = [
    "ClassFaults",
    "FrechetReference",
    "LayoutMatcher",
    "LpipsDistance",
    "Match",
    "ScoringNetwork",
    "SourceScorer",
    "class_faults",
    "foreground_iou",
    "layout_diversity",
    "load_scoring_network",
    "mean_pairwise_lpips",
    "novel_share",
    "novelty",
    "single_image_frechet",
]
