"""Native-size detail for coarse samples: patch nearest neighbours taken from the source pair.

The network learns the layout at 64 to 96 pixels; this package brings each sample to the source's
size. Read in this order: ``features`` (what is compared), ``exact`` (the search at the coarse
size), ``field`` (carrying and improving the matches up a pyramid), ``vote`` (turning matches into
pixels and labels), ``cleaning`` (specks, unlabelled pixels), ``refiner`` (all of it in order).
Those are compiled loops for a CPU, a sample at a time; ``batched_search``, ``batched_vote`` and
``batched`` are the same as tensor code for a GPU, many samples at a time.
"""

from __future__ import annotations

from osmis_core.refinement.batched import BatchedRefiner, refiner_on
from osmis_core.refinement.options import RefinementOptions
from osmis_core.refinement.refiner import Refined, Refiner
from osmis_core.refinement.vote import verbatim_share

__all__ = [
    "BatchedRefiner",
    "Refined",
    "RefinementOptions",
    "Refiner",
    "refiner_on",
    "verbatim_share",
]
