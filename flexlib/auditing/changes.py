"""What became of the programs: by benchmark and by program, of the base and with the adapter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from flexlib.auditing import form
from flexlib.auditing.runs import Answers
from flexlib.errors import FlexError
from flexlib.grading.programs import is_tolerable
from flexlib.runs import store
from flexlib.study import inference, paired
from flexlib.tasks import answers as texts

ARMS = ("base", "adapter")

Both = Mapping[str, Mapping[str, Answers]]  # by arm and benchmark


def programs(both: Both) -> pd.DataFrame:
    """One row a problem, sample and benchmark: ``language, benchmark, task_id, sample, prompt``, ``change``
    (``fixed``, ``broken`` or empty), and of either arm, as in ``base_program``: ``program`` (what of the
    answer was graded), ``verdict, detail, passed`` and ``another_language`` (it does not compile, and reads
    as another language; None where that cannot be told of the benchmark's language).

    Raises:
        FlexError: too many problems of a benchmark could not be judged.
    """
    rows = []
    for name, of_base in both["base"].items():
        of_adapter = both["adapter"][name]
        for answers in (of_base, of_adapter):
            _check_judged(name, answers)
        problems = {p.task_id: p for p in of_base.problems}
        sides = {arm: _by_place(a) for arm, a in zip(ARMS, (of_base, of_adapter), strict=True)}
        for place in sides["base"]:
            problem = problems[place[0]]
            row: dict[str, Any] = {
                "language": problem.language,
                "benchmark": name,
                "task_id": place[0],
                "sample": place[1],
                "prompt": problem.prompt,
            }
            for arm in ARMS:
                answer, verdict = sides[arm][place]
                text = texts.graded(problem, answer["completion"], of_base.settings)
                foreign = None
                if problem.language in form.KNOWN:
                    refused = verdict["verdict"] == "compile_error"
                    foreign = refused and form.reads_as_another(text, problem.language)
                row |= {f"{arm}_{k}": verdict[k] for k in ("verdict", "detail", "passed")}
                row |= {f"{arm}_program": text, f"{arm}_another_language": foreign}
            judged = "harness_error" not in (row["base_verdict"], row["adapter_verdict"])
            gained = int(row["adapter_passed"]) - int(row["base_passed"])
            row["change"] = {1: "fixed", -1: "broken", 0: ""}[gained if judged else 0]
            rows.append(row)
    return pd.DataFrame(rows)


def by_benchmark(table: pd.DataFrame, margin: float, *, alpha: float) -> pd.DataFrame:
    """One row a benchmark, all of them one family.

    Args:
        table: of :func:`programs`.
        margin: the change that matters, in 0..1.
        alpha: that no statement of the family is wrong, with a probability of 1 - alpha at least.

    Returns:
        ``language, benchmark, problems, samples``; ``base, adapter`` (pass@1) and ``difference``, with its
        simultaneous interval ``low, high`` at the level ``confidence``; ``detectable``, the smallest change
        that this design would have found with a probability of 0.8, if any; ``word`` and, with it,
        ``larger_than`` (x) and ``n_that_could``; ``lost_more_than_margin`` (True, False, or missing);
        ``fixed, broken`` (programs); and of either arm, as in ``base_not_compiling``, the shares
        ``not_compiling`` and ``another_language`` (missing where it cannot be told). All rates, shares and
        differences are in 0..1.

    Raises:
        FlexError: no problem is left.
    """
    if table.empty:
        raise FlexError("no problem is left to audit on; raise --limit or take another language")
    groups = {str(name): judged(rows) for name, rows in table.groupby("benchmark", sort=False)}
    effects = {name: effect(rows) for name, rows in groups.items()}
    family = inference.simultaneous(effects, dict.fromkeys(effects, ("any", margin)), alpha=alpha)
    rows = []
    for name, group in groups.items():
        found, bounds = effects[name], family.loc[name]
        low, high = float(bounds["low"]), float(bounds["high"])
        level = alpha / 2 / len(groups)
        said = paired.word(low, high, margin)
        seen = paired.detectable(found.discordance, found.tasks, level)
        row = {
            "language": group["language"].iloc[0],
            "benchmark": name,
            "problems": found.tasks,
            "samples": int(group["sample"].nunique()),
            "base": float(group["base_passed"].mean()),
            "adapter": float(group["adapter_passed"].mean()),
            "difference": found.estimate,
            "low": low,
            "high": high,
            "confidence": 1 - float(bounds["level_low"] + bounds["level_high"]),
            "detectable": seen if math.isfinite(seen) else None,
            "word": said,
            "larger_than": max(-low, high) if said.startswith("no change") else None,
            "n_that_could": None,
            "lost_more_than_margin": paired.lost_more(low, high, margin),
            "fixed": int((group["change"] == "fixed").sum()),
            "broken": int((group["change"] == "broken").sum()),
        }
        if said == "cannot tell":
            needed = paired.tasks_needed(found.estimate, found.discordance, margin, level)
            row["n_that_could"] = max(found.tasks + 1, needed)
        for arm in ARMS:
            row[f"{arm}_not_compiling"] = float((group[f"{arm}_verdict"] == "compile_error").mean())
            row[f"{arm}_another_language"] = float(
                group[f"{arm}_another_language"].astype(float).mean()
            )
        rows.append(row)
    missing = {"n_that_could": "Int64", "lost_more_than_margin": "boolean"}
    return pd.DataFrame(rows).astype({"detectable": float, "larger_than": float, **missing})


def effect(group: pd.DataFrame) -> inference.TwoRuns | paired.Rates:
    """The difference of the two arms on one benchmark: rows of :func:`programs`."""
    rates = group.groupby("task_id")[[f"{arm}_passed" for arm in ARMS]].mean()
    return paired.difference(rates["adapter_passed"], rates["base_passed"])


def by_form(both: Both, judgements: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """One row a benchmark: pass@1 of either arm ``as_written``, ``as_graded`` and by the program ``alone``,
    as in ``base_alone``; ``change`` of whole answers, as they were written; and its two parts,
    ``change_of_program`` (that of the programs alone) and ``change_of_form`` (the rest). In 0..1, of the
    problems that :func:`by_benchmark` counts, without those that could not be judged now.

    Args:
        judgements: of :func:`flexlib.auditing.form.judged`, by arm and benchmark.

    Raises:
        FlexError: too many problems of a benchmark could not be judged.
    """
    rows = []
    for name, answers in both["base"].items():
        row: dict[str, Any] = {"language": answers.problems[0].language, "benchmark": name}
        tables = {arm: judgements[arm][name] for arm in ARMS}
        unjudged = {
            task
            for table in tables.values()
            for task in table.loc[table[list(form.WAYS)].isna().any(axis=1), "task_id"]
        }
        if not is_tolerable(len(unjudged), len(answers.problems)):
            raise FlexError(
                f"{name}: {len(unjudged)} of {len(answers.problems)} problems could not be graded by their "
                "form; give the same command again"
            )
        for arm, table in tables.items():
            counted = table[~table["task_id"].isin(unjudged)]
            for way in form.WAYS:
                row[f"{arm}_{way}"] = float(counted[way].astype(float).mean())
        change = {w: row[f"adapter_{w}"] - row[f"base_{w}"] for w in ("as_written", "alone")}
        row["change"] = change["as_written"]
        row["change_of_program"] = change["alone"]
        row["change_of_form"] = change["as_written"] - change["alone"]
        rows.append(row)
    return pd.DataFrame(rows)


def judged(group: pd.DataFrame) -> pd.DataFrame:
    """One benchmark's rows without the problems on which a program of either arm could not be judged."""
    unjudged = (group[[f"{arm}_verdict" for arm in ARMS]] == "harness_error").any(axis=1)
    return group[~group["task_id"].isin(group.loc[unjudged, "task_id"])]


def _check_judged(name: str, answers: Answers) -> None:
    """Raises: FlexError, where so many problems have harness errors that the rest may mislead."""
    unjudged = {v["task_id"] for v in answers.verdicts if v["verdict"] == "harness_error"}
    if not is_tolerable(len(unjudged), len(answers.problems)):
        raise FlexError(
            f"{name}: {len(unjudged)} of {len(answers.problems)} problems have harness errors, which are "
            f"not failures; `{store.command('regrade', answers.run)}`, then audit again"
        )


def _by_place(answers: Answers) -> dict[tuple[str, int], tuple[dict, dict]]:
    pairs = zip(answers.completions, answers.verdicts, strict=True)
    return {(c["task_id"], c["sample"]): (c, v) for c, v in pairs}
