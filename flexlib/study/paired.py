"""Two runs on the same problems: what a difference is called, and what could have been seen.

The difference itself is `flexlib.study.inference.TwoRuns`; `Rates` is for several answers a problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr, stdtrit

from flexlib.errors import FlexError
from flexlib.study.inference import TwoRuns

Word = Literal["gained", "lost", "no change larger than x", "cannot tell"]

POWER = 0.8  # at which a change counts as one that a design can see


@dataclass(frozen=True)
class Rates:
    """The mean difference of two rates a problem: an `flexlib.study.inference.Effect` by Student's t.

    One differing problem is added to the sum of squares, as Agresti and Min (2005) add half an observation
    to each cell of a two by two table: answers that agree everywhere do not show that none can differ.

    Attributes:
        estimate: the mean difference.
        squares: sum of the squared differences from it.
        tasks: all problems.
    """

    estimate: float
    squares: float
    tasks: int
    seeds: tuple[int, ...] = (1, 1)
    bases: int = 1
    floor: float = 0.0

    @property
    def discordance(self) -> float:
        """The variance of a problem's difference: of verdicts, the share that differs."""
        return self.squares / self.tasks

    @property
    def se(self) -> float:
        return math.sqrt(self.squares + 1) / self.tasks

    def tail(self, null: float, side: int) -> float:
        return float(stdtr(max(1, self.tasks - 1), -side * (self.estimate - null) / self.se))

    def bound(self, level: float, side: int) -> float:
        away = -float(stdtrit(max(1, self.tasks - 1), level)) * self.se
        return min(1.0, max(-1.0, self.estimate - side * away))


def difference(first: ArrayLike, second: ArrayLike) -> TwoRuns | Rates:
    """The difference of two vectors, an entry a problem, the first minus the second: verdicts (0 or 1), or
    rates of several answers (0..1).

    Raises:
        FlexError: they differ in length, or are empty.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != other.shape or one.ndim != 1 or not one.size:
        raise FlexError(
            "two runs are compared on the same problems, of which there is at least one"
        )
    if np.isin([one, other], (0, 1)).all():
        return TwoRuns(int((one > other).sum()), int((one < other).sum()), one.size)
    change = one - other
    squares = float(((change - change.mean()) ** 2).sum())
    return Rates(float(change.mean()), squares, one.size)


def word(low: float, high: float, margin: float) -> Word:
    """What a simultaneous interval says of a change, if one of ``margin`` matters (all in 0..1)."""
    if low > 0:
        return "gained"
    if high < 0:
        return "lost"
    return "no change larger than x" if -margin < low and high < margin else "cannot tell"


def lost_more(low: float, high: float, margin: float) -> bool | None:
    """Whether a loss of more than ``margin`` is established; None where it can neither be established
    nor excluded."""
    return True if high < -margin else False if low > -margin else None


def detectable(discordance: float, tasks: int, level: float) -> float:
    """The smallest change that a design would have found with a probability of `POWER`; infinite where it
    could have found none.

    Args:
        discordance: as of the effects above.
        level: of the one-sided test.
    """
    z = ndtri(1 - level) + ndtri(POWER)
    change = max(z * math.sqrt(discordance / tasks), _fewest(level) / tasks)
    return change if change <= 1 else math.inf


def tasks_needed(estimate: float, discordance: float, margin: float, level: float) -> int:
    """How many problems could tell, with a probability of `POWER`, if the change is what it seems to be:
    that there is one, or that there is none of ``margin``, whichever takes fewer.

    Args:
        estimate: the change that it seems to be, in -1..1.
        discordance: as in :func:`detectable`.
        margin: the change that matters, above 0.
        level: of the one-sided tests.
    """
    away, left = abs(estimate), margin - abs(estimate)
    needed = []
    if away > 0:
        z = ndtri(1 - level) + ndtri(POWER)
        needed.append(max(discordance * (z / away) ** 2, _fewest(level) / away))
    if left > 0:
        z = ndtri(1 - level) + ndtri((1 + POWER) / 2)  # two bounds have to hold
        # Where none differs, before the exact interval and before Tango's exclude the margin.
        none_differs = math.log(level) / math.log1p(-margin)
        score = float(ndtri(level)) ** 2 * (1 - margin) / margin
        needed.append(max(discordance * (z / left) ** 2, none_differs, score))
    return math.ceil(min(needed))


def _fewest(level: float) -> int:
    """Problems that must differ, all one way, before any exact test at this level can see it."""
    return math.ceil(math.log(level) / math.log(0.5))
