"""Native-size detail for coarse samples: patch nearest neighbours taken from the source pair.

The network learns the layout at about 64 pixels; this package brings each sample to the source's
size. Read in this order: ``features`` (what is compared), ``exact`` (the search at the coarse
size), ``field`` (carrying and improving the matches up a pyramid), ``vote`` (turning matches into
pixels and labels), ``cleaning`` (specks, unlabelled pixels), ``refiner`` (all of it in order).
"""

from __future__ import annotations

from osmis_core.refinement.options import RefinementOptions
from osmis_core.refinement.refiner import Refined, Refiner
from osmis_core.refinement.vote import verbatim_share

__all__ = ["Refined", "RefinementOptions", "Refiner", "verbatim_share"]
