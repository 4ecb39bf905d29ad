"""Measuring any set of image-mask pairs against its source, whoever made the set.

Read in this order: ``files`` (a zip or folder, read in memory and within limits), ``sample_masks``
(what the values of a sample's mask mean), ``pair_set`` (which files belong together, decoded on
demand), ``measures`` (one function a metric), ``report`` (all of them, as one JSON value).
``python -m osmis_core.evaluation`` runs it as a process that prints JSON lines.
"""

from __future__ import annotations

from osmis_core.evaluation.files import EvaluationError, Limits
from osmis_core.evaluation.pair_set import PairSet, open_pair_set
from osmis_core.evaluation.report import EvaluationOptions, evaluate

__all__ = [
    "EvaluationError",
    "EvaluationOptions",
    "Limits",
    "PairSet",
    "evaluate",
    "open_pair_set",
]
