"""Strengths at which two penalties leave updates of the same size.

Equal gradients at a reference (:func:`flexlib.training.fourier.matching_factor`) do not make for
equal updates: a penalty that spares some directions is evaded, one that spares none is not, and
plain L2 matched that way leaves a quarter of the update. So arms with ``regularizer.equal_norm``
have the strength at which the final norm of the update, Frobenius over all modules, is that of the
arm named there, found by measurement: trainings with a seed of their own, that no stored run has,
by the secant rule on log strength and log norm, until the two differ by at most `TOLERANCE`.

Every trial is a row of ``data/tuning/<profile>-<arm>-norm.csv``; the strength found is written into the
profile (``[arms.NAME.regularizer]``) by hand, where a test compares it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flexlib import config as configs
from flexlib import disk, formats
from flexlib.config import RunConfig
from flexlib.errors import FlexError
from flexlib.study import tuning

if TYPE_CHECKING:
    from flexlib.runs.machine import Machine

SEED = 0
TOLERANCE = 0.05  # of the target's norm
TRIALS = 8
FIELDS = ("arm", "strength", "norm", "eval_loss", "seed", "steps", "base_digest", "run_id")


@dataclass(frozen=True)
class Trial:
    """One training: the strength of the penalty and what it left."""

    arm: str
    strength: float
    norm: float  # Frobenius, of the update of all modules together
    eval_loss: float  # nats a token, final
    new: bool = True  # made now, not read


def calibrate(
    profile: str, arm: str, machine: Machine, folder: Path = tuning.FOLDER
) -> Iterator[Trial]:
    """Train the target of an arm, then the arm at one strength after another until their norms agree;
    yields each trial. Those that the tables hold are read instead of made.

    Raises:
        FlexError: the arm has no ``equal_norm``; the norms do not agree after `TRIALS` trials, or did
            not move with the strength; or as :func:`flexlib.runs.pipeline.train`.
    """
    target_arm = _target(profile, arm)
    wanted = _load(profile, target_arm)
    target = _trial(wanted, machine, _file(profile, target_arm, folder))
    yield target
    tried: list[Trial] = []
    while not any(abs(t.norm / target.norm - 1) <= TOLERANCE for t in tried):
        if len(tried) == TRIALS:
            raise FlexError(
                f"{arm} did not come within {TOLERANCE:.0%} of the norm of {target_arm}, "
                f"{target.norm:.4g}, in {TRIALS} trials; see {_file(profile, arm, folder)}"
            )
        start = wanted.regularizer.strength if wanted.regularizer else 0.01
        strength = next_strength([(t.strength, t.norm) for t in tried], target.norm, start)
        tried.append(_trial(_load(profile, arm, strength), machine, _file(profile, arm, folder)))
        yield tried[-1]


def next_strength(tried: Sequence[tuple[float, float]], target: float, start: float) -> float:
    """Where to try next, given (strength, norm) so far: three significant digits.

    The secant through the two trials on either side of the target that are nearest to it, else through
    the two nearest, in logarithms; at most a factor of ten beyond what was tried. With one trial, the
    norm is taken to fall as strength^(-1/2).

    Raises:
        FlexError: a norm is zero or not finite, or two strengths gave the same.
    """
    if not tried:
        return start
    if not all(0 < norm < math.inf for _, norm in tried):
        raise FlexError("a trial left an update of no size; its training diverged")
    points = sorted((math.log(s), math.log(n / target)) for s, n in tried)
    below = [p for p in points if p[1] > 0]  # too weak
    above = [p for p in points if p[1] <= 0]
    if below and above:
        (x0, y0), (x1, y1) = max(below), min(above)
        inside = (min(x0, x1), max(x0, x1))
    else:
        nearest = sorted(points, key=lambda p: abs(p[1]))[:2]
        (x0, y0) = nearest[0]
        (x1, y1) = nearest[1] if len(nearest) == 2 else (x0 + 1, y0 - 0.5)
        inside = (points[0][0] - math.log(10), points[-1][0] + math.log(10))
    if y0 == y1 or x0 == x1:
        raise FlexError("the norm of the update does not move with the strength of the penalty")
    x = min(max(x0 - y0 * (x1 - x0) / (y1 - y0), inside[0]), inside[1])
    return float(f"{math.exp(x):.3g}")


def chosen(profile: str, arm: str, folder: Path = tuning.FOLDER) -> float | None:
    """The strength of the trial whose norm is nearest to the target's; None before one is within
    `TOLERANCE`.

    Raises:
        FlexError: the tables hold trials on several bases.
    """
    target_arm = _target(profile, arm)
    target = tuning.read_rows(_file(profile, target_arm, folder))
    rows = tuning.read_rows(_file(profile, arm, folder))
    if not target or not rows:
        return None
    if len({row["base_digest"] for row in [*target, *rows]}) > 1:
        raise FlexError(
            f"the norms of {arm} and {target_arm} in {folder} are of several bases; move those of the others"
        )
    off = {float(r["strength"]): abs(float(r["norm"]) / float(target[0]["norm"]) - 1) for r in rows}
    best = min(off, key=off.__getitem__)
    return best if off[best] <= TOLERANCE else None


def _target(profile: str, arm: str) -> str:
    regularizer = _load(profile, arm, 1.0).regularizer
    if regularizer is None or regularizer.equal_norm is None:
        raise FlexError(f"arm {arm!r} has no regularizer.equal_norm; there is nothing to calibrate")
    return regularizer.equal_norm


def _load(profile: str, arm: str, strength: float | None = None) -> RunConfig:
    overrides = [] if strength is None else [f"regularizer.strength={strength!r}"]
    wanted = configs.load(profile, arm, SEED, overrides=overrides)
    # Only the end is wanted; and the trial is the same whatever the profile holds already.
    training = dataclasses.replace(wanted.method()[0], evaluations=1)
    return dataclasses.replace(wanted, training=training, benchmarks=(), variant=None)


def _trial(wanted: RunConfig, machine: Machine, path: Path) -> Trial:
    from flexlib.analysis import spectra
    from flexlib.runs import preflight
    from flexlib.training import fourier

    wanted, inputs = preflight.resolve(wanted, machine)
    run_id = configs.run_id(configs.to_dict(wanted))
    strength = wanted.regularizer.strength if wanted.regularizer else 0.0
    rows = tuning.read_rows(path)
    for row in rows:
        if row["run_id"] == run_id:
            return Trial(wanted.arm, strength, float(row["norm"]), float(row["eval_loss"]), False)
    with tuning.trained(wanted, inputs, machine) as result:
        squares = [
            f.scaling**2 * float(fourier.energy(f.B.double().mT, f.A.double()))
            for f in spectra.read_adapter(result / "adapter")
        ]
        last = tuning.read_rows(result / "training.csv")[-1]
        made = Trial(wanted.arm, strength, math.sqrt(sum(squares)), float(last["eval_loss"]))
        new_row = {
            **dataclasses.asdict(made),
            "seed": wanted.seed,
            "steps": last["step"],
            "base_digest": wanted.base_digest,
            "run_id": run_id,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(path, formats.to_csv(FIELDS, [*rows, new_row]))
    return made


def _file(profile: str, arm: str, folder: Path) -> Path:
    return folder / f"{profile}-{arm}-norm.csv"
