"""How many problems and samples fit a time: measured on a few, kept, and found again.

A sampling design has problems first: further samples of a problem sharpen its own rate, they are not
further problems. So a plan takes more than one sample of each only when all problems are in it, and no
more than the profile's own decoding has. Greedy decoding has one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from flexlib.auditing import cache
from flexlib.errors import FlexError
from flexlib.study import paired

PROBE = 16  # problems of each benchmark on which the speed is measured

#: The share of problems on which two models may be expected to differ, before anything is known.
DISCORDANCE = 0.2


@dataclass(frozen=True)
class Plan:
    """How many of a benchmark's first problems are asked, and how often each.

    ``seconds`` is that of one problem on all benchmarks, asked once of one model.
    """

    limit: int
    samples: int
    seconds: float


def fit(
    minutes: float, spent: float, seconds: float, models: int, problems: int, samples: int
) -> Plan:
    """The plan that fits.

    Args:
        minutes: in all.
        spent: seconds that are gone.
        seconds: that one problem takes on all benchmarks, asked once of one model.
        models: how many are still to be asked.
        problems: that the largest benchmark has.
        samples: of each, in the profile's own decoding.

    Raises:
        FlexError: the time is not enough for `PROBE` problems; says how many minutes are.
    """
    left = 60 * minutes - spent
    once = seconds * max(1, models)
    fitting = int(left / once)
    if fitting < min(PROBE, problems):
        needed = int((spent + min(PROBE, problems) * once) / 60) + 1
        raise FlexError(
            f"{minutes:g} minutes are not enough for {min(PROBE, problems)} problems of each benchmark "
            f"here; --minutes {needed} would be, or fewer --languages"
        )
    if fitting >= problems:
        return Plan(problems, max(1, min(samples, fitting // problems)), seconds)
    # Whole tens: two plans of nearly the same speed are the same.
    return Plan(fitting - fitting % 10 if fitting >= 30 else fitting, 1, seconds)


def describe(plan: Plan, minutes: float, benchmarks: int, alpha: float) -> str:
    """A plan in a sentence, with what it can see."""
    change = paired.detectable(DISCORDANCE, plan.limit, alpha / 2 / benchmarks)
    samples = f", {plan.samples} times each" if plan.samples > 1 else ""
    fits = f"{plan.limit} problems of each benchmark{samples} fit {minutes:g} minutes"
    if not math.isfinite(change):
        return f"{fits}: too few to see any change"
    return (
        f"{fits}: a change of {100 * change:.0f} points could be seen where the verdicts of one problem "
        f"in {1 / DISCORDANCE:.0f} differ"
    )


def kept(store: Path, question: object) -> tuple[Path, Plan | None]:
    """Where the plan for a question is kept, and that plan if there is one: see
    :func:`flexlib.auditing.cache.find`."""
    return cache.find(store, "plan", question, lambda plan: Plan(**plan))


def keep(path: Path, plan: Plan) -> None:
    """Keep a plan for the next time that the question comes up, as in an audit that goes on."""
    cache.keep(path, asdict(plan))
