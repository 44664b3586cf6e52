"""The order in which measures decide; readable without pandas, since every cell asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

DIVERGENCES = ("symkl", "kl", "evidence-gap", "elbo", "l1", "hellinger", "w2")
DISTANCES_OF_DRAWS = ("energy-distance", "c2st", "crps")
ORDER = (*DIVERGENCES, *DISTANCES_OF_DRAWS)
"""Measures in the order in which they decide where a family says nothing else: the finest first."""


def in_order(measures: Iterable[str], first: tuple[str, ...] = ()) -> list[str]:
    """Return measures in the order in which they decide: those of ``first``, then of ``ORDER``, then as they came."""
    known = [*first, *(name for name in ORDER if name not in first)]
    return sorted(measures, key=lambda name: known.index(name) if name in known else len(known))


def one_of_a_kind(measures: Sequence[str]) -> list[int]:
    """Return the places of the first divergence, the first distance of draws and the first of other measures.

    What sees a density's finest errors may not see a mode that is missing, and each test more costs the others power:
    so measures of a kind do not all decide at once.
    """
    kinds = [1 if name in DIVERGENCES else 2 if name in DISTANCES_OF_DRAWS else 3 for name in measures]
    return [place for place, kind in enumerate(kinds) if kind not in kinds[:place]]
