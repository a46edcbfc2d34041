"""The contract of inference: every contrast of the book goes through here.

*Pairing.* `contrast` has the one rule; `paired_by_seed` is its like for one number a run.
*Uncertainty.* A contrast is an `Effect`: a bootstrap over tasks x seeds (x base models), or `TwoRuns`
where there is one run each. *Families.* `simultaneous` tests the claims of a family together by Holm's
procedure and gives each the interval of the level at which it was tested. *Verdicts.* `decide` reads
them off that interval and nothing else; `assess` does all of it for data/claims.yml. The chapter "Rules
of inference" says what this guarantees and why.

A claim makes a statement on either side: that the effect lies above a null, and that it lies below one.
For superiority both nulls are 0; for equivalence they are -margin and +margin (two one-sided tests,
Schuirmann 1987). All statements on one side of a family are one Holm family at alpha / 2. An equivalence
has a second statement on each side, that the effect lies beyond the other margin, and counts until
this is shown too. So, whatever the dependence of the tests, with a probability of at least 1 - alpha no
verdict of a family is wrong, and every bound that shows nothing is on the right side of its effect
(Strassburger and Bretz 2008, Guilbaud 2008: simultaneous bounds that are compatible with Holm's
procedure). A bound that shows something holds at its own level: how far the effect lies beyond the
null, Holm's procedure does not tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import bdtr, bdtrc, betaincinv, ndtr, ndtri

from flexlib.errors import FlexError
from flexlib.study import paper
from flexlib.study.metrics import judged, solve_matrix
from flexlib.study.stats import Comparison, paired_bootstrap, two_proportions

#: Training seeds from which on a chapter may conclude from an arm, by profile; below, it explores.
CONCLUSIVE = {"nano": 10}
CONCLUSIVE_ELSEWHERE = 5

_ANSWERS = {
    "claim": ("reproduced", "not reproduced"),
    "question": ("yes", "no"),
    "prediction": ("confirmed", "not confirmed"),
}


class Effect(Protocol):
    """An estimated difference and what is known of it: its tests and bounds belong together.

    `flexlib.study.stats.Bootstrap`, `TwoRuns` and `Binomial` are such.
    """

    @property
    def estimate(self) -> float: ...
    @property
    def tasks(self) -> int: ...
    @property
    def seeds(self) -> tuple[int, ...]:
        """How many, of each arm."""

    @property
    def bases(self) -> int: ...
    @property
    def se(self) -> float: ...
    @property
    def floor(self) -> float:
        """The smallest p-value that `tail` can give."""

    def tail(self, null: float, side: int) -> float:
        """One-sided p-value of "the effect is at most ``null``" (side 1) or "at least" (side -1)."""

    def bound(self, level: float, side: int) -> float:
        """The lower (side 1) or upper (side -1) bound: beyond a null exactly if its tail <= level."""


@dataclass(frozen=True)
class Binomial:
    """An effect that is ``intercept + slope * share``, the share that of ``successes`` in ``trials``; exact.

    Of two runs on the same problems, trials are those on which they differ (McNemar 1947): the
    difference is (2 share - 1) trials / tasks, given how many differ. Of seeds that reach a loss, the
    trials are the seeds.
    """

    successes: int
    trials: int
    intercept: float
    slope: float
    tasks: int
    seeds: tuple[int, ...]
    bases: int = 1
    floor: float = 0.0

    @property
    def estimate(self) -> float:
        return self.intercept + self.slope * self.successes / self.trials

    @property
    def se(self) -> float:
        return self.slope * math.sqrt(0.25 / self.trials)  # the most that it can be

    def tail(self, null: float, side: int) -> float:
        share = (null - self.intercept) / self.slope
        if not 0 <= share <= 1:  # no effect can be as small, or as large
            return float(side * (share - 0.5) > 0)
        if side > 0:
            return float(bdtrc(self.successes - 1, self.trials, share))
        return float(bdtr(self.successes, self.trials, share))

    def bound(self, level: float, side: int) -> float:
        k, n = self.successes, self.trials  # Clopper and Pearson's
        if side > 0:
            share = betaincinv(k, n - k + 1, level) if k > 0 else 0.0
        else:
            share = betaincinv(k + 1, n - k, 1 - level) if k < n else 1.0
        return float(self.intercept + self.slope * share)


@dataclass(frozen=True)
class NoneDiffers:
    """Two runs that agree on every problem. The share of problems that one alone solves has Clopper and
    Pearson's bound ``1 - level ** (1 / tasks)``, and the difference is no larger."""

    tasks: int
    seeds: tuple[int, ...] = (1, 1)
    bases: int = 1
    estimate: float = 0.0
    se: float = 0.0
    floor: float = 0.0

    def tail(self, null: float, side: int) -> float:
        return 1.0 if side * null >= 0 else (1 - min(abs(null), 1.0)) ** self.tasks

    def bound(self, level: float, side: int) -> float:
        return side * (level ** (1 / self.tasks) - 1)


@dataclass(frozen=True)
class TwoRuns:
    """The difference of two pass rates on the same problems.

    McNemar's exact test, and the interval that goes with it, hold given how many problems the two runs
    differ on. Where these are few, that interval is too narrow for the difference in all problems of the
    kind: of one differing problem in forty it would say that no more than one in forty can differ. The score
    interval of Tango (1998) does not lean on that number, but claims too much of a gain without a loss, whose
    number is a skewed binomial. No gain is larger than the share of problems that the run alone solves, and
    this has Clopper and Pearson's bound. The most cautious of the three counts everywhere.

    By enumeration of all outcomes of 20 to 320 problems, at one-sided levels of 0.025 and 0.00625, a bound is
    wrong at most 1.2 times as often as it says where it is the one nearer to zero, or lies within 0.4 of it:
    so are all statements about margins. One that is farther out, the other end of a large difference, is
    wrong up to 1.7 times as often at 0.56, and 2.8 times at 0.9. An exact unconditional test would not
    be, but takes a search over all outcomes for every bound.

    Attributes:
        won: problems that the first run alone solves.
        lost: problems that the second run alone solves.
        tasks: all problems.
    """

    won: int
    lost: int
    tasks: int
    seeds: tuple[int, ...] = (1, 1)
    bases: int = 1
    floor: float = 0.0

    @property
    def estimate(self) -> float:
        return (self.won - self.lost) / self.tasks

    @property
    def discordance(self) -> float:
        """The share of problems on which the runs differ."""
        return (self.won + self.lost) / self.tasks

    @property
    def se(self) -> float:
        """Standard error, of one differing problem at least."""
        return math.sqrt(max(1, self.won + self.lost)) / self.tasks

    def tail(self, null: float, side: int) -> float:
        given_discordance = self._given_discordance().tail(null, side)
        return max(self._score(null, side), given_discordance, self._alone(null, side))

    def bound(self, level: float, side: int) -> float:
        exact = self._given_discordance().bound(level, side)
        edge = 1 - 1e-9
        if self._score(-side * edge, side) > level:
            score = -float(side)
        else:
            score = float(brentq(lambda null: self._score(null, side) - level, -edge, edge))
        return side * min(side * exact, side * score, self._alone_bound(level, side))

    def _given_discordance(self) -> Effect:
        differ = self.won + self.lost
        if not differ:
            return NoneDiffers(self.tasks)
        share = differ / self.tasks
        return Binomial(self.won, differ, -share, 2 * share, self.tasks, (1, 1))

    def _alone(self, null: float, side: int) -> float:
        """The p-value of "no more than ``null`` of the problems are solved by the side's run alone"."""
        if side * null <= 0:
            return 0.0  # that says nothing of them
        alone = self.won if side > 0 else self.lost
        return float(bdtrc(alone - 1, self.tasks, min(1.0, side * null)))

    def _alone_bound(self, level: float, side: int) -> float:
        alone = self.won if side > 0 else self.lost
        return float(betaincinv(alone, self.tasks - alone + 1, level)) if alone else 0.0

    def _score(self, null: float, side: int) -> float:
        """Tango's one-sided p-value: the share of losses is the likeliest one under the null."""
        if abs(null) >= 1:
            return float(side * null > 0)
        n, won, lost = self.tasks, self.won, self.lost
        b = -won - lost + (2 * n - won + lost) * null
        c = -lost * null * (1 - null)
        share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * share + null * (1 - null))
        if variance <= 0:
            return 0.5
        return float(ndtr(-side * (won - lost - n * null) / math.sqrt(variance)))


@dataclass(frozen=True)
class Unbounded:
    """A mean difference over seeds of which a run diverged: not finite, and nothing bounds it."""

    estimate: float
    seeds: tuple[int, ...]
    tasks: int = 1
    bases: int = 1
    se: float = math.inf
    floor: float = 0.0

    def tail(self, null: float, side: int) -> float:
        return 1.0

    def bound(self, level: float, side: int) -> float:
        return -side * math.inf


# --- pairing ------------------------------------------------------------------------------------


def contrast(
    verdicts: pd.DataFrame,
    treatment: str,
    control: str,
    benchmark: str,
    *,
    seed: int,
    tasks: Collection[str] | None = None,
    n_resamples: int = 10_000,
) -> Effect:
    """pass@1 of one arm minus that of another, by the one rule of pairing of this study.

    Arms are paired by task, and by seed where both have it: only those seeds count. An arm that has
    one run, as a base decoded greedily has, is paired with every seed of the other. Arms without two
    common seeds are paired by task alone: pairs of one seed would not show what differs between seeds.
    Where ``verdicts`` has a column ``base`` (the base model that was trained), only the bases that both
    arms have count, and of an arm the seeds that it has on each of them. Two runs with one verdict a
    problem are compared as `TwoRuns`, all else by `flexlib.study.stats.paired_bootstrap`. ``tasks``:
    these only.

    Raises:
        FlexError: an arm has no verdicts there, they were graded on different problems, or the arms have
            no base in common.
    """
    (first, first_seeds), (second, second_seeds) = _tables(
        verdicts, (treatment, control), benchmark, tasks
    )
    common = first_seeds.intersection(second_seeds)
    paired = len(common) > 1
    if paired:
        first = first[:, first_seeds.get_indexer(common)]
        second = second[:, second_seeds.get_indexer(common)]
    if first[0].size == second[0].size == 1 and np.isin([first, second], (0, 1)).all():
        return TwoRuns(int((first > second).sum()), int((first < second).sum()), first.size)
    return paired_bootstrap(first, second, seed=seed, paired_seeds=paired, n_resamples=n_resamples)


def _tables(
    verdicts: pd.DataFrame, arms: Sequence[str], benchmark: str, tasks: Collection[str] | None
) -> list[tuple[np.ndarray, pd.Index]]:
    """For each arm its rates (tasks, seeds, bases) and the seeds."""
    of = judged(verdicts[verdicts["benchmark"].isin(benchmark.split(" + "))])
    base = of["base"] if "base" in of else pd.Series("", index=of.index)
    bases = sorted(set.intersection(*(set(base[of["arm"] == arm].unique()) for arm in arms)))
    if not bases and all((of["arm"] == arm).any() for arm in arms):
        raise FlexError(f"{' and '.join(arms)} have no base model in common; run both on one")
    by_arm = [
        [solve_matrix(of[base == name] if name else of, arm, benchmark) for name in bases or [""]]
        for arm in arms
    ]
    index = by_arm[0][0].index
    if not all(matrix.index.equals(index) for matrices in by_arm for matrix in matrices):
        raise FlexError(
            f"{' and '.join(arms)} were graded on different problems of {benchmark}; regrade one"
        )
    chosen = index if tasks is None else index[index.isin(tasks)]
    tables = []
    for arm, matrices in zip(arms, by_arm, strict=True):
        seeds = matrices[0].columns
        for matrix in matrices:
            seeds = seeds.intersection(matrix.columns)
        if seeds.empty:
            raise FlexError(f"{arm} has no seed that was run on every base model")
        tables.append((np.stack([m.loc[chosen, seeds] for m in matrices], axis=2), seeds))
    return tables


def paired_by_seed(treatment: pd.Series, control: pd.Series | float, *, seed: int) -> Effect | None:
    """The mean difference of one number a run, by seed (the index), first arm minus second: over the seeds
    that both arms have, as :func:`contrast` pairs them. A number for ``control`` is paired with every seed.
    None of fewer than two seeds, which show no spread; `Unbounded` if the number of a run is infinite.
    ``seed`` is that of the bootstrap."""
    control = pd.Series(control, treatment.index) if isinstance(control, float) else control
    pairs = pd.concat([treatment, control], axis=1).dropna().sort_index().to_numpy(dtype=float)
    if len(pairs) < 2:
        return None
    if not np.isfinite(pairs).all():
        with np.errstate(invalid="ignore"):  # infinite in both arms
            return Unbounded(float((pairs[:, 0] - pairs[:, 1]).mean()), (len(pairs),) * 2)
    return paired_bootstrap((pairs[:, 0] - pairs[:, 1])[None], seed=seed)


def seeds_that(reached: Sequence[bool]) -> Binomial:
    """The share of seeds of which something is true, minus a half: what a fair coin would give."""
    return Binomial(int(sum(reached)), len(reached), -0.5, 1.0, 1, (len(reached),) * 2)


# --- families -----------------------------------------------------------------------------------


def nulls(direction: str, margin: float) -> dict[int, tuple[float, ...]]:
    """What the statements of a claim are tested against on either side, in order. The direction ``any`` asks
    everything at once: is there a change, one within the margin, one beyond it?"""
    if direction == "equivalent":
        return {1: (-margin, margin), -1: (margin, -margin)}
    if direction == "any":
        return {1: (-margin, 0.0, margin), -1: (margin, 0.0, -margin)}
    return {1: (0.0,), -1: (0.0,)}


def simultaneous(
    effects: Mapping[str, Effect | None],
    directions: Mapping[str, tuple[str, float]] | None = None,
    *,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Adjusted p-values and simultaneous intervals of one family, by Holm's procedure on either side.

    Args:
        effects: by id; None for one that was registered and not run, which counts as a p-value of 1.
        directions: direction and margin of each, as in data/claims.yml, or ``any``; without, all are
            two-sided.

    Returns:
        By id: ``low, high`` (missing where not run), ``level_low, level_high`` (the one-sided levels of
        these bounds), ``p_value`` (not adjusted) and ``adjusted_p``, both doubled, so that they compare
        with ``alpha``, and ``at_floor``, whether resampling could have given no smaller one.
        ``adjusted_p`` is at most ``alpha`` if, and only if, the interval excludes 0, or lies within
        the margins of an equivalence. For the direction ``any`` of an audit the intervals alone count:
        it has no one p-value.
    """
    directions = directions or {}
    asked = {i: directions.get(i, ("two-sided", 0.0)) for i in effects}
    sides = {
        side: _holm(effects, {i: nulls(*asked[i])[side] for i in effects}, side, alpha / 2)
        for side in (1, -1)
    }
    rows = {}
    for i, effect in effects.items():
        low, high = sides[1][i], sides[-1][i]
        # An equivalence needs both sides, anything else the better one.
        worse, better = sorted((low, high), key=lambda s: (s.adjusted, s.own), reverse=True)
        decisive = worse if asked[i][0] == "equivalent" else better
        rows[i] = {
            "low": effect.bound(low.level, 1) if effect else np.nan,
            "high": effect.bound(high.level, -1) if effect else np.nan,
            "level_low": low.level,
            "level_high": high.level,
            "p_value": min(1.0, 2 * decisive.own),
            "adjusted_p": min(1.0, 2 * decisive.adjusted),
            "at_floor": effect is not None and decisive.own <= effect.floor,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


@dataclass(frozen=True)
class _Side:
    own: float  # one-sided p-value of the first null
    adjusted: float  # that, adjusted
    level: float  # at which the last statement was tested: that of the bound


def _holm(
    effects: Mapping[str, Effect | None],
    nulls: Mapping[str, Sequence[float]],
    side: int,
    level: float,
) -> dict[str, _Side]:
    """Holm's step-down procedure, in which a claim waits until all its statements are shown.

    Of equal p-values all are tested at the level of the first, so that their order is of no account.
    """
    own = {
        (i, null): effect.tail(null, side) if effect else 1.0
        for i, effect in effects.items()
        for null in nulls[i]
    }
    waiting = {i: list(nulls[i]) for i in effects}
    adjusted: dict[tuple[str, float], float] = {}
    levels: dict[str, float] = {}
    rejecting, largest, last, count = True, 0.0, -1.0, 0
    while waiting:
        i = min(waiting, key=lambda i: own[i, waiting[i][0]])
        null = waiting[i].pop(0)
        p = own[i, null]
        if p != last:
            last, count = p, len(waiting)
        largest = max(largest, min(1.0, p * count))
        adjusted[i, null] = largest
        if rejecting and p > level / count:
            rejecting = False
            levels |= dict.fromkeys(waiting, level / len(waiting))
        if rejecting:
            levels[i] = level / count
        if not waiting[i]:
            del waiting[i]
    return {i: _Side(own[i, nulls[i][0]], adjusted[i, nulls[i][0]], levels[i]) for i in effects}


# --- verdicts -----------------------------------------------------------------------------------


def decide(low: float, high: float, n: int, *, claim: Mapping[str, Any]) -> str:
    """The verdict on a claim by its simultaneous interval: 'reproduced', 'not reproduced' or 'cannot
    tell' of a claim, 'yes', 'no' or 'cannot tell' of a question, 'confirmed', 'not confirmed' or
    'cannot tell' of a prediction.

    ``claim`` is an entry of data/claims.yml; the interval is in the units of its metric. It holds if the
    interval lies on the claimed side of 0 (on either side for a two-sided claim, within
    +-``smallest_effect`` for an equivalence). It fails if the interval excludes every effect of at
    least ``smallest_effect`` the claimed way (an equivalence: if it lies outside). Anything else, and
    n < ``minimum_n``, cannot be told.
    """
    holds, fails = _ANSWERS[claim["kind"]]
    smallest, direction = claim["smallest_effect"], claim["direction"]
    within, outside = -smallest < low and high < smallest, low > smallest or high < -smallest
    if direction == "less":
        low, high = -high, -low
    if n < claim["minimum_n"]:
        return "cannot tell"
    if direction == "equivalent":
        return holds if within else fails if outside else "cannot tell"
    if direction == "two-sided":
        return holds if low > 0 or high < 0 else fails if within else "cannot tell"
    return holds if low > 0 else fails if high < smallest else "cannot tell"


def assess(
    claims: pd.DataFrame,
    verdicts: pd.DataFrame,
    *,
    seed: int,
    n_resamples: int = 10_000,
    measured: Mapping[str, Effect] | None = None,
) -> pd.DataFrame:
    """The state of every registered claim, given what is in the store.

    ``claims`` comes from `flexlib.study.paper.claims`, ``verdicts`` from
    `flexlib.runs.store.verdicts` for one profile, ``measured`` the results of claims with another
    metric, by id. A claim on pass@1 is tested if both arms have runs on its benchmark, paired as in
    `contrast`; `simultaneous` adjusts over the whole family, claims not yet run included.

    Returns a row a claim: ``id, treatment, control, benchmark, difference, low, high, p_value,
    adjusted_p, at_floor, level_low, level_high, tasks, seeds, bases, detectable, verdict``; ``seeds`` is
    the smaller number of trained seeds, ``detectable`` the difference that would have been seen with 80
    % power at that level, ``verdict`` 'not run' where untested.

    Raises:
        FlexError: claims of one family have different alphas, or as `contrast`.
    """
    effects: dict[str, Effect | None] = dict.fromkeys(claims["id"]) | dict(measured or {})
    ran = {name: set(arms) for name, arms in verdicts.groupby("benchmark")["arm"].unique().items()}
    of_arm = dict(tuple(verdicts.groupby("arm")))
    for claim in claims[claims["metric"] == "pass@1"].itertuples():
        arms = {claim.treatment, claim.control}
        if all(arms <= ran.get(part, set()) for part in claim.benchmark.split(" + ")):
            effects[claim.id] = contrast(
                pd.concat(of_arm[arm] for arm in sorted(arms)),
                claim.treatment,
                claim.control,
                claim.benchmark,
                seed=seed,
                n_resamples=n_resamples,
            )
    families = []
    for name, family in claims.groupby("family", sort=False):
        if family["alpha"].nunique() > 1:
            raise FlexError(f"claims of the family {name} have different alphas; they have one")
        asked = zip(family["direction"], family["smallest_effect"], strict=True)
        families.append(
            simultaneous(
                {i: effects[i] for i in family["id"]},
                dict(zip(family["id"], asked, strict=True)),
                alpha=family["alpha"].iloc[0],
            )
        )
    tested = pd.concat(families) if families else pd.DataFrame()
    rows = []
    for claim in claims.to_dict("records"):
        named = {k: claim[k] for k in ("id", "treatment", "control", "benchmark")}
        effect = effects[claim["id"]]
        if effect is None:
            rows.append(named | {"verdict": "not run"})
            continue
        found = tested.loc[claim["id"]].to_dict()
        # A base model is decoded greedily, once: only arms that train have seeds to count.
        seeds = effect.seeds[0] if _is_base(claim["control"]) else min(effect.seeds)
        level = min(found["level_low"], found["level_high"])
        rows.append(
            named
            | found
            | {"difference": effect.estimate, "tasks": effect.tasks, "seeds": seeds}
            | {"bases": effect.bases, "detectable": effect.se * float(-ndtri([level, 0.2]).sum())}
            | {"verdict": decide(found["low"], found["high"], seeds, claim=claim)}
        )
    columns = ["id", "treatment", "control", "benchmark", "difference", "low", "high", "p_value"]
    columns += ["adjusted_p", "at_floor", "level_low", "level_high", "tasks", "seeds", "bases"]
    return pd.DataFrame(rows, columns=[*columns, "detectable", "verdict"])


# --- what the chapters show ---------------------------------------------------------------------


def contrasts(
    verdicts: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    *,
    seed: int,
    state: pd.DataFrame | None = None,
    groups: pd.Series | None = None,
    n_resamples: int = 10_000,
) -> pd.DataFrame:
    """Differences in pass@1, first arm minus second, of pairs of arms on every benchmark.

    A contrast that a claim was registered on, either way round, has that claim's interval, so that it is
    the same on every page; any other is exploratory and has a 95 % interval of its own.

    Args:
        verdicts: from `flexlib.runs.store.verdicts`.
        state: from `assess`.
        groups: task_id (the index) to a group of tasks; each is shown after all tasks.

    Returns:
        ``treatment, control, benchmark, language, group, tasks, seeds, difference, low, high, claim`` (0..1;
        ``seeds`` of the treatment that count; ``group`` "all tasks" or that of ``groups``; ``claim``
        its id, "" if exploratory), without the pairs of which an arm was not run.

    Raises:
        FlexError: as `contrast`.
    """
    of_group = {} if groups is None else {g: t.index for g, t in groups.groupby(groups)}
    registered: dict[tuple[str, str, str], Any] = {}
    if state is not None:
        told = state[state["difference"].notna()]
        for r in told.itertuples():
            registered.setdefault((r.treatment, r.control, r.benchmark), (r.low, r.high, r.id))
        for r in told.itertuples():
            registered.setdefault((r.control, r.treatment, r.benchmark), (-r.high, -r.low, r.id))
    rows, keys = [], ["benchmark", "language"]
    shown = verdicts[verdicts["arm"].isin({arm for pair in pairs for arm in pair})]
    tables = [
        (benchmark, language, dict(tuple(judged(of).groupby("arm", observed=True))))
        for (benchmark, language), of in shown.groupby(keys, sort=False, observed=True)
    ]
    for treatment, control in pairs:
        for benchmark, language, of_arm in tables:
            if not {treatment, control} <= of_arm.keys():
                continue
            of = pd.concat([of_arm[arm] for arm in sorted({treatment, control})])
            for group, tasks in {"all tasks": None, **of_group}.items():
                effect = contrast(
                    of,
                    treatment,
                    control,
                    benchmark,
                    seed=seed,
                    tasks=tasks,
                    n_resamples=n_resamples,
                )
                low, high, claim = (effect.bound(0.025, 1), effect.bound(0.025, -1), "")
                if tasks is None:
                    key = (treatment, control, benchmark)
                    low, high, claim = registered.get(key, (low, high, claim))
                rows.append(
                    {
                        "treatment": treatment, "control": control, "benchmark": benchmark,
                        "language": language, "group": group, "tasks": effect.tasks,
                        "seeds": effect.seeds[0], "difference": effect.estimate,
                        "low": low, "high": high, "claim": claim,
                    }
                )  # fmt: skip
    columns = ["treatment", "control", *keys, "group", "tasks", "seeds", "difference"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high", "claim"])


def published(claim: Mapping[str, Any]) -> Comparison | None:
    """The published figures of a claim's own contrast, treatment minus control: unpaired, with a 95 %
    interval that is not adjusted; None if not both were published.

    Of ten samples a problem the problems are what was sampled, so n is their number.
    """
    if len(claim["published"]) != 2:
        return None
    rows = paper.published().loc[claim["published"]]
    first, second = (rows["value"] / 100 * rows["n"]).tolist()
    n, m = (int(n) for n in rows["n"])
    return two_proportions((first, second), (n, m))


def p_text(p: float, at_floor: bool = False, sign: str = "") -> str:
    """A p-value as it is printed: to four places; with "≤", rounded up, where resampling could have given
    no smaller one. ``sign`` stands before a value that has no other: "= " in a sentence."""
    if pd.isna(p):
        return "–"
    if at_floor:
        return f"≤ {math.ceil(p * 1e4 - 1e-9) / 1e4:.4f}"
    return "< 0.0001" if p < 0.0001 else f"{sign}{p:.4f}"


def exploratory(verdicts: pd.DataFrame, arms: Iterable[str], profile: str) -> pd.DataFrame:
    """The arms of a chapter with fewer seeds than it takes to conclude something: ``arm, seeds, needed``.

    An untrained base is no arm in this sense: it has one run, and no seed makes a difference.
    """
    needed = CONCLUSIVE.get(profile, CONCLUSIVE_ELSEWHERE)
    seeds = verdicts.groupby("arm", observed=True)["seed"].nunique()
    trained = [arm for arm in dict.fromkeys(arms) if not _is_base(arm)]
    rows = [(arm, int(seeds.get(arm, 0)), needed) for arm in trained]
    table = pd.DataFrame(rows, columns=["arm", "seeds", "needed"])
    return table[table["seeds"] < needed].reset_index(drop=True)


def exploratory_note(
    verdicts: pd.DataFrame,
    arms: Iterable[str],
    profile: str,
    names: Mapping[str, str] | None = None,
) -> str:
    """A sentence for a caption that names the exploratory arms; "" if there are none."""
    table = exploratory(verdicts, arms, profile)
    if table.empty:
        return ""
    listed = ", ".join(f"{(names or {}).get(r.arm, r.arm)} ({r.seeds})" for r in table.itertuples())
    return f"Exploratory, with fewer than {table['needed'].iloc[0]} seeds: {listed}."


def _is_base(arm: str) -> bool:
    """Whether a stored name is of an untrained base: in some decoding, or on several bases."""
    return re.split("[ @]", arm)[0] == "base"
