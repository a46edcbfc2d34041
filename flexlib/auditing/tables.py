"""The audit itself: from an adapter to its tables. It resumes, as the runs that it makes do."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flexlib import __version__, models
from flexlib import config as configs
from flexlib.auditing import changes, form, plan, runs, subject, weights
from flexlib.auditing.plan import Plan
from flexlib.auditing.runs import Answers
from flexlib.auditing.subject import Subject
from flexlib.config import RunConfig
from flexlib.errors import FlexError
from flexlib.runs import preflight, provenance, store
from flexlib.runs.machine import Machine

ALPHA = 0.05
MARGIN = 0.05
_PROMPTS = 8  # on which merged and unmerged logits are compared
_NOT_DECODING = {"name", "language", "merge_adapter", "digest"}  # of a benchmark's settings


@dataclass(frozen=True)
class Audit:
    """What an adapter did.

    Attributes:
        facts: with what the audit was made: plain data. ``decoding`` has the settings of each benchmark.
        left_out: languages that cannot be graded here, and why.
        languages: one row a benchmark (:func:`flexlib.auditing.changes.by_benchmark`).
        programs: one row a program (:func:`flexlib.auditing.changes.programs`).
        form: one row a benchmark (:func:`flexlib.auditing.changes.by_form`).
        modules: one row a module (:func:`flexlib.auditing.weights.tables`); empty where the update has no
            factors, and ``facts["weights"]`` says why.
        spectrum: one row a quantity and x (the same).
        merged: one row a benchmark, in the columns of ``languages`` for the merged adapter against the
            unmerged one (``base`` is the unmerged); None if it was not asked for.
    """

    facts: dict[str, Any]
    left_out: dict[str, str]
    languages: pd.DataFrame
    programs: pd.DataFrame
    form: pd.DataFrame
    modules: pd.DataFrame
    spectrum: pd.DataFrame
    merged: pd.DataFrame | None = None

    def lost_more_than_margin(self) -> bool | None:
        """Whether a loss of more than ``facts["margin"]`` is established in any language (True), excluded in
        all (False), or neither (None)."""
        said = [None if pd.isna(v) else bool(v) for v in self.languages["lost_more_than_margin"]]
        return True if True in said else None if None in said else False


def audit(
    adapter: str | Path,
    *,
    base_model: str | None = None,
    profile: str | None = None,
    languages: Sequence[str] | None = None,
    limit: int | None = None,
    merged: bool = False,
    margin: float = MARGIN,
    minutes: float | None = None,
    machine: Machine | None = None,
) -> Audit:
    """Ask a base model and an adapter on it the same problems, and compare: programs, form and weights.

    What was answered is kept in the machine's store and found again: the base's run is made once, and an
    interrupted audit goes on where it was.

    Args:
        adapter: a folder in PEFT's format, or a hub id.
        base_model: a folder, a GGUF file or a hub id; None: the one that the adapter names.
        profile: whose benchmarks and decoding are used; None: that of this base, else ``small``.
        languages: None: all that the profile has a benchmark for. What cannot be graded here is left out,
            and named in ``left_out``.
        limit: the first problems of each benchmark only.
        merged: compare with the adapter folded into the weights, too.
        margin: the change of pass@1 that matters, in 0..1: what *no change* excludes.
        minutes: plan ``limit``, and the samples where decoding samples, to fit this time.
        machine: None: this one, with a store in the user's cache.

    Raises:
        FlexError: no adapter there, or one that does not load on the base; the base is missing; no
            language can be graded, no problem is left; ``margin`` outside of 0..1; ``minutes`` no
            finite number above 0, or not enough; as :func:`flexlib.runs.pipeline.run`. What was done so far
            is kept.
    """
    start = time.monotonic()
    if not 0 < margin < 1:
        raise FlexError(f"the margin is a change of pass@1 above 0 and below 1, not {margin:g}")
    if minutes is not None and not 0 < minutes < math.inf:
        raise FlexError(f"the minutes of a plan are a finite number above 0, not {minutes:g}")
    if minutes is not None and limit is not None:
        raise FlexError("--minutes plans how many problems are asked; leave out --limit")
    machine = machine or Machine(store=subject.store())
    what = subject.choose(adapter, base_model, profile)
    machine = dataclasses.replace(machine, adapter=None, base_model=what.base_folder)
    tuned = dataclasses.replace(machine, adapter=what.folder)
    able, left_out = subject.gradable(what.profile, languages, machine)
    asked, bases = _Asked(what, able, limit), models.BaseModels()
    # Whether the adapter goes on the base, before anything is asked of either.
    wanted, inputs = preflight.resolve(asked.config(merged=merged), tuned)
    planned = None
    if minutes is not None:
        made = _plan(asked, wanted, inputs, tuned, bases, minutes, merged, start)
        sampled = any(b.temperature > 0 for b in wanted.benchmarks)
        asked = dataclasses.replace(
            asked, limit=made.limit, samples=made.samples if sampled else None
        )
        planned = plan.describe(made, minutes, len(wanted.benchmarks), ALPHA)
        if machine.progress:
            print(f"flexlib: {planned}", file=sys.stderr)

    of_base = runs.answers(asked.config(), machine, bases)
    of_adapter = runs.answers(asked.config(), tuned, bases)
    of_merged = runs.answers(asked.config(merged=True), tuned, bases) if merged else None

    both = {"base": of_base, "adapter": of_adapter}
    programs = changes.programs(both)
    judgements = {
        arm: {name: pd.DataFrame(form.judged(a, machine)) for name, a in found.items()}
        for arm, found in both.items()
    }
    facts = _facts(str(adapter), wanted, both, machine)
    facts |= {"margin": margin, "alpha": ALPHA, "plan": planned}
    precision = wanted.benchmarks[0].precision
    modules, spectrum, compared = pd.DataFrame(), pd.DataFrame(), None
    try:
        modules, spectrum = weights.tables(what.folder, inputs.base, machine, bases, precision)
    except FlexError as error:
        facts["weights"] = str(error)
    if of_merged is not None:
        pair = changes.programs({"base": of_adapter, "adapter": of_merged})
        compared = changes.by_benchmark(pair, margin, alpha=ALPHA)
        prompts = _prompts(inputs.base, of_base)
        facts["logits"] = {"precision": precision} | weights.merged_logits(
            what.folder, inputs.base, machine, bases, prompts, precision
        )
    return Audit(
        facts=facts,
        left_out=left_out,
        languages=changes.by_benchmark(programs, margin, alpha=ALPHA),
        programs=programs,
        form=changes.by_form(both, judgements),
        modules=modules,
        spectrum=spectrum,
        merged=compared,
    )


@dataclass(frozen=True)
class _Asked:
    """What is asked of base and adapter alike."""

    what: Subject
    languages: list[str]
    limit: int | None
    samples: int | None = None

    def config(self, *, merged: bool = False) -> RunConfig:
        return subject.configuration(
            self.what, self.languages, self.limit, self.samples, merged=merged
        )


def _plan(
    asked: _Asked,
    wanted: RunConfig,
    inputs: preflight.Inputs,
    tuned: Machine,
    bases: models.BaseModels,
    minutes: float,
    merged: bool,
    start: float,
) -> Plan:
    """As many problems as fit the time: the plan of an earlier audit of this kind, or one that is made by
    asking the adapter the first few. The base is taken to be as slow, whether its run is there or not: so
    the plan suits the next adapter, too."""
    decoding = configs.to_dict(wanted)["benchmarks"]
    question = [wanted.base_digest, decoding, minutes, merged]
    path, known = plan.kept(tuned.store, question)
    if known is None:
        few = dataclasses.replace(asked, limit=plan.PROBE, samples=1)
        # Of a run that was killed and goes on, the clock does not have all of its seconds.
        seconds = _seconds(runs.answers(few.config(), tuned, bases, afresh=True))
        most = max(map(len, inputs.problems.values()))
        samples = max(b.samples for b in wanted.benchmarks)
        spent = time.monotonic() - start
        known = plan.fit(minutes, spent, seconds, 3 if merged else 2, most, samples)
        plan.keep(path, known)
    return known


def _seconds(few: Mapping[str, Answers]) -> float:
    """Seconds that one problem took on all benchmarks, by the clocks of the runs that answered."""
    total = 0.0
    for answers in few.values():
        stages = store.read_provenance(answers.run)["seconds"]
        benchmarks = store.read_config(answers.run)["benchmarks"]
        programs = sum(len(store.read_verdicts(answers.run, name)) for name in benchmarks)
        total += (stages["generate"] + stages["grade"]) / programs
    return total


def _facts(adapter: str, wanted: RunConfig, both: changes.Both, machine: Machine) -> dict[str, Any]:
    """With what the audit was made."""
    described = provenance.describe(models.pick_device(machine.device))
    return {
        "adapter": adapter,
        "adapter_sha256": wanted.adapter_digest,
        "base": wanted.base_model,
        "base_sha256": wanted.base_digest,
        "profile": wanted.profile,
        "decoding": {
            name: {
                k: v
                for k, v in dataclasses.asdict(a.settings).items()
                if v is not None and k not in _NOT_DECODING
            }
            for name, a in both["adapter"].items()
        },
        "sandboxed": all(
            store.read_provenance(a.run).get("sandboxed", True)
            for answers in both.values()
            for a in answers.values()
        ),
        "runs": {
            arm: {
                name: {"run": a.run.name, "made": "now" if a.made else "before"}
                for name, a in answers.items()
            }
            for arm, answers in both.items()
        },
        "flexlib": __version__,
        **{k: described[k] for k in ("utc", "packages", "toolchains", "cpu", "gpu")},
    }


def _prompts(base: Path, answers: Mapping[str, Answers]) -> list[list[int]]:
    """Token ids of the first prompts of every benchmark."""
    tokenizer = models.load_tokenizer(base)
    each = max(1, _PROMPTS // len(answers))
    return [
        tokenizer(problem.prompt)["input_ids"]
        for a in answers.values()
        for problem in a.problems[:each]
    ]
