"""The landing page: what was found, in one sentence, one figure and a card for each claim.

Takes every profile that the store has runs of, so that a new scale appears when its runs do. What is missing
is said, not left out in silence. The sentence follows from three intervals by rule (:func:`finding`).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from flexlib import paths
from flexlib.book import claims as shown
from flexlib.book import span, verdict_badge
from flexlib.errors import FlexError
from flexlib.figures import hero
from flexlib.figures.style import ARM_NAMES
from flexlib.study import claims as registered
from flexlib.study import inference, paper, stats

#: Scales in the order in which they are shown, and what they are called.
SCALES = {
    "nano": "a 3 M-parameter Llama on NanoBench",
    "small": "Qwen2.5-Coder 0.5B on HumanEval and MultiPL-E",
    "paper": "Code Llama 7B on HumanEval and MultiPL-E",
    "paper-corrected": "Code Llama 7B, one protocol for all rows",
}
#: The benchmark that stands for a language, in the order of choice.
BENCHMARKS = {
    "Python": ("nanobench-python", "humaneval"),
    "Java": ("nanobench-java", "multipl-e-java"),
}
#: Controls without frequencies, the better first, and what each does.
CONTROLS = {
    "fourier-units": "with the inputs and outputs of every module renumbered at random",
    "fourier-permuted": "with the whole index put in random order",
}
#: The arms of the figure. The second of a pair stands in for the first until that has runs.
ARMS = (
    ("base",),
    ("lora",),
    ("fourier-released",),
    tuple(CONTROLS),
    ("l2-norm", "l2-matched"),  # at equal size of the update
)

#: A claim in about ten words, in the order of the cards. Others come after them, in their own words.
SHORT = {
    "C3-lora": "The Fourier penalty, as released, raises Java over plain LoRA.",
    "C3-base": "LoRA with the Fourier penalty raises Java over the base.",
    "C3-best-lora": "Does the penalty at its best raise Java over plain LoRA?",
    "C3-best-python": "Does the penalty at its best raise Python over plain LoRA?",
    "C3-best-units": "Does the penalty at its best give the Java of its control?",
    "C3-best-L2": "Does the penalty at its best give the Java of L2?",
    "C3-last-axis": "Does the penalty raise Java if it transforms the last axis?",
    "C3-both-axes": "Does the penalty raise Java if it transforms both axes?",
    "M-rank-2-java": "Does plain LoRA of rank 2 give the Java of the penalty?",
    "M-rank-3-java": "Does plain LoRA of rank 3 give the Java of the penalty?",
    "M-weights-B-frequency": "Do derived weights on B alone order it as the penalty does?",
    "M-weights-B-rank": "Do derived weights on B alone leave the rank of the penalty?",
    "M-weights-B-loss": "Do derived weights on B alone leave the loss of the penalty?",
    "M-weights-B-java": "Do derived weights on B alone give the Java of the penalty?",
    "S-C3-lora": "The Fourier penalty, as released, raises Java over plain LoRA.",
    "C3-described": "The Fourier penalty, as described, raises Java over plain LoRA.",
    "S-C3-described": "The Fourier penalty, as described, raises Java over plain LoRA.",
    "S-C3-base": "LoRA with the Fourier penalty raises Java over the base.",
    "S-units-java": "Does the penalty with units renumbered give the same Java?",
    "S-units-python": "Does the penalty with units renumbered give the same Python?",
    "S-norm-java": "Does L2 of equal final norm give the same Java?",
    "L2": "Does plain LoRA on Python change Java?",
    "S-lora-java": "Does plain LoRA on Python change Java?",
    "L1": "Does plain LoRA on Python raise Python?",
    "S-C1-python": "LoRA on MBPP raises Python over the base.",
    "S-H-lora-retrieval": "Does plain LoRA change how alike one task is in two languages?",
    "S-H-penalty-retrieval": "Does the penalty change how alike one task is in two languages?",
    "C1": "LoRA on few Python problems beats broad Python tuning.",
    "S-merged": "The Fourier adapter does better unmerged than merged.",
    "C2a-reached": "Sophia reaches AdamW's final loss in most seeds.",
    "C2a-steps": "Sophia reaches a loss in fewer steps than AdamW.",
    "C2a-final-loss": "Sophia ends at a lower validation loss than AdamW.",
    "C2b": "Sophia and AdamW end at about the same pass@1.",
}
#: By kind and the first letters of their ids, claims that share a card, which counts their verdicts.
TOPICS = {
    ("prediction", "M"): "Registered predictions of what the penalty does, from this study's theory.",
    ("prediction", "H"): "Registered predictions of how alike one task is inside the model in two languages.",
    ("question", "T-"): "Our questions on transfer between four languages, each trained on.",
    ("question", "D-"): "Our questions on the penalty where training data is little or dirty.",
    ("question", "X-"): "Our questions on tasks longer than any in training, where all arms are near zero.",
    ("question", "O-"): "Our questions on Muon and schedule-free AdamW.",
    ("question", "A-"): "Our questions on FourierFT, DoRA and training all weights.",
}  # fmt: skip
#: The page that a card leads to, by the first letters of a claim's id, longer ones first.
PAGES = {
    "A": "adapters",
    "C1": "lora",
    "C2": "optimisers",
    "C3": "spectra",
    "D": "training-data",
    "F": "lora",
    "M": "spectra",
    "B": "spectra",
    "H": "hidden",
    "L": "lora",
    "O": "optimisers",
    "R": "optimisers",
    "S-H": "hidden",
    "S": "realmodel",
    "T": "transfer",
    "X": "harder",
}
#: The question whether the penalty helps at its best; its card is shown without an answer too.
BEST = "C3-best-lora"
#: What its verdicts add to the sentence of the page.
AT_BEST = {
    "yes": " At its best setting the penalty raises Java over plain LoRA.",
    "no": " At its best setting the penalty does not raise Java over plain LoRA.",
    "cannot tell": " Whether the penalty helps at its best setting cannot be told.",
}
#: The claims of a profile and what became of them (:func:`flexlib.study.claims.state`), both by id.
States = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]


class Effect(NamedTuple):
    """A difference of pass rates and its interval, in 0..1."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What the figure and the sentence of the page are made from.

    ``rates`` has ``scale, arm, language, tasks, seeds, pass_at_k, low, high``, ``by_seed`` one row
    a run; ``missing`` says which arms were not run, ``findings`` has a sentence for each scale.
    """

    rates: pd.DataFrame
    by_seed: pd.DataFrame
    missing: list[str]
    findings: dict[str, str]


def states(verdicts: pd.DataFrame, profile: str, *, seed: int) -> States:
    """The claims of ``profile`` and of every scale that has both claims and runs."""
    ran = set(verdicts["profile"])
    return {
        name: (asked, registered.state(name, seed=seed))
        for name in SCALES
        if (len(asked := paper.claims(name)) and name in ran) or name == profile
    }


def summary(verdicts: pd.DataFrame, seed: int, states: States) -> Summary:
    """The summary of every profile that has runs of plain LoRA; where none has, of those with a base.

    Raises:
        FlexError: there is none.
    """
    rates, by_seed, missing, findings = [], [], [], {}
    needed = "lora" if (verdicts["arm"] == "lora").any() else "base"
    for profile, scale in SCALES.items():
        stored = verdicts[verdicts["profile"] == profile]
        if needed not in set(stored["arm"]):
            continue
        arms, notes = shown_arms(set(stored["arm"]))
        missing += [(scale, note) for note in notes]
        chosen = of_languages(stored[stored["arm"].isin(arms)])
        each = stats.arm_rates(chosen, seed=seed)
        each = each.sort_values("arm", key=lambda c, a=arms: c.map(a.index), kind="stable")
        rates.append(each.assign(scale=scale, arm=each["arm"].map(ARM_NAMES)))
        runs = seed_rates(chosen)
        by_seed.append(runs.assign(scale=scale, arm=runs["arm"].map(ARM_NAMES)))
        _, became = states.get(profile, (None, None))
        best = (
            "not run" if became is None or BEST not in became.index else became.loc[BEST, "verdict"]
        )
        findings[profile] = finding(
            *java_effects(chosen, seed, became), _smallest_effect(profile), best
        )
    if not rates:
        raise FlexError(
            "the landing page shows what was found, and the store has no run: see `flexlib grid -h`"
        )
    notes = [f"{note} ({scale})" if len(rates) > 1 else note for scale, note in missing]
    whole, runs = (pd.concat(parts, ignore_index=True) for parts in (rates, by_seed))
    return Summary(whole, runs, notes, findings)


def java_effects(
    verdicts: pd.DataFrame, seed: int, state: pd.DataFrame | None
) -> tuple[Effect | None, Effect | None, Effect | None]:
    """In Java: plain LoRA over the base, the released penalty over plain LoRA, and over its control without
    frequencies; None for what was not run."""
    java = verdicts[verdicts["language"] == "Java"]
    control = next((arm for arm in CONTROLS if arm in set(java["arm"])), "")
    pairs = [("lora", "base"), ("fourier-released", "lora"), ("fourier-released", control)]
    found = [inference.contrasts(java, [pair], seed=seed, state=state) for pair in pairs]
    first, second, third = (
        None if table.empty else Effect(*table[["difference", "low", "high"]].iloc[0])
        for table in found
    )
    return first, second, third


def _smallest_effect(profile: str) -> float:
    effects = paper.claims(profile).query("metric == 'pass@1'")["smallest_effect"]
    return float(effects.min()) if len(effects) else 0.02


def shown_arms(stored: set[str]) -> tuple[list[str], list[str]]:
    """The figure's arms among ``stored``, and a note on each that has none or a stand-in."""
    arms, notes = [], []
    for choices in ARMS:
        found = next((arm for arm in choices if arm in stored), None)
        wanted = ARM_NAMES[choices[0]]
        if found is None:
            notes.append(f"{wanted}: not run")
        else:
            arms.append(found)
            if found != choices[0]:
                notes.append(f"{wanted}: not run; {ARM_NAMES[found]} stands in")
    return arms, notes


def of_languages(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The verdicts on the benchmark that stands for each language, its name in ``language``."""
    chosen = []
    for language, benchmarks in BENCHMARKS.items():
        stored = set(verdicts["benchmark"])
        name = next((b for b in benchmarks if b in stored), None)
        chosen.append(verdicts[verdicts["benchmark"] == name].assign(language=language))
    return pd.concat(chosen, ignore_index=True)


def seed_rates(verdicts: pd.DataFrame) -> pd.DataFrame:
    """pass@1 of every run: ``arm, language, seed, tasks, pass_at_k``."""
    each = verdicts.groupby(["arm", "language", "seed", "task_id"])["passed"].mean()
    rates = each.groupby(["arm", "language", "seed"]).agg(["size", "mean"]).reset_index()
    return rates.rename(columns={"size": "tasks", "mean": "pass_at_k"})


def finding(tuned: Effect | None, penalised: Effect | None, meaningless: Effect | None,
            smallest: float, best: str = "not run") -> str:  # fmt: skip
    """The answer in one sentence.

    Args:
        tuned: plain LoRA on Python minus the base, in Java.
        penalised: with the released Fourier penalty minus without, in Java.
        meaningless: the released penalty minus the same with frequency made meaningless, in Java.
        smallest: the smallest difference worth claiming; two effects within it are the same.
        best: the verdict on whether the penalty raises Java at the best setting of the sweep.
        None stands for what was not run.
    """
    if (
        tuned
        and penalised
        and all(_undecided(e, smallest) for e in (tuned, penalised, meaningless))
    ):
        return "The runs so far are too few to tell whether training on Python or the penalty changes Java."
    if tuned is None:
        first = "Whether training on Python alone helps Java was not run"
    elif _sign(tuned) > 0:
        first = "Training on Python alone makes Java better, without any Fourier penalty"
    elif _sign(tuned) < 0:
        first = "Training on Python alone makes Java worse"
    else:
        first = "These runs show no change of Java by training on Python alone"
    if penalised is None:
        return first + "; the penalty was not run."
    if tuned is not None and _sign(tuned) > 0 > _sign(penalised):
        most = abs(penalised.difference) > tuned.difference / 2
        second = f"the penalty as released takes {'most' if most else 'part'} of that gain away"
    elif _sign(penalised):
        second = f"the penalty as released {'raises' if _sign(penalised) > 0 else 'lowers'} it"
    elif abs(penalised.low) < smallest and abs(penalised.high) < smallest:
        second = "the penalty as released changes nothing"
    else:
        second = "these runs cannot tell whether the penalty changes it"
    if meaningless is None:
        third = "; the control without frequencies was not run"
    elif -smallest < meaningless.low and meaningless.high < smallest:
        third = ", and does just the same when its frequencies mean nothing"
    elif _sign(meaningless):
        third = "; its frequencies do matter"
    else:
        third = "; these runs cannot tell whether its frequencies matter"
    return f"{first}; {second}{third}.{AT_BEST.get(best, '')}"


def _undecided(effect: Effect | None, smallest: float) -> bool:
    """Whether an effect was not run, or may be none as well as one that matters."""
    return effect is None or (
        not _sign(effect) and max(abs(effect.low), abs(effect.high)) >= smallest
    )


def _sign(effect: Effect) -> int:
    """Which way an effect points whose interval excludes none."""
    return (effect.low > 0) - (effect.high < 0)


def sentence(findings: dict[str, str]) -> str:
    """The findings of all scales as one text: once where they agree, else scale by scale."""
    by_text: dict[str, list[str]] = {}
    for scale, text in findings.items():
        by_text.setdefault(text, []).append(SCALES[scale])
    if len(by_text) == 1:
        return next(iter(by_text))
    return " ".join(
        f"On {' and '.join(scales)}: {t[0].lower()}{t[1:]}" for t, scales in by_text.items()
    )


def cards(states: States, pages: Mapping[str, str] = PAGES) -> str:
    """A card for every claim that was run and every question that was answered (`BEST` always), and one for
    all predictions or questions of a topic, as Markdown of sphinx-design; ``pages`` has the page for an
    id's first letters."""
    text = [":::::{grid} 1 2 2 3", ":gutter: 2", ":class-container: claims", ""]
    for profile, claim, row in _each(states):
        shared = claim.kind == "prediction" or _topic(claim)  # a card, if there is one
        if row["verdict"] == "not run" or shared or _is_open(claim, row):
            continue
        page = _page(claim.id, pages)
        text += [
            "::::{grid-item-card}",
            ":class-card: claim",
            "",
            SHORT.get(claim.id, claim.statement),
            "",
            f"{verdict_badge(row['verdict'])} **{shown.number(claim.metric, row['difference'])}**",
            (
                f"{shown.number(claim.metric, row['low'], '')} to "
                f"{shown.number(claim.metric, row['high'], '')}, "
                f"{row['seeds']:.0f} seed{'s' if row['seeds'] > 1 else ''}"
            ),
            "",
            ":::{card-footer}",
            f"[{claim.id}, profile {profile}]({page}.md)",
            ":::",
            "::::",
            "",
        ]
    for (kind, start), words in TOPICS.items():
        ran = [row["verdict"] for _, claim, row in _each(states) if _topic(claim) == (kind, start)]
        if told := Counter(v for v in ran if v != "not run"):
            text += [
                "::::{grid-item-card}",
                ":class-card: claim",
                "",
                words,
                "",
                ", ".join(f"{n} {verdict_badge(v)}" for v, n in sorted(told.items())),
                f"of {len(ran)}",
                "",
                ":::{card-footer}",
                f"[{kind.capitalize()}s]({_page(start, pages)}.md)",
                ":::",
                "::::",
                "",
            ]
    return "\n".join([*text, ":::::"])


def without_card(states: States) -> str:
    """One line that counts what has no card: questions that the runs cannot answer, and all that was not run;
    the page it links to names the latter."""
    still_open = sum(_is_open(claim, row) for _, claim, row in _each(states))
    waiting = Counter(claim.kind for _, claim, row in _each(states) if row["verdict"] == "not run")
    parts = []
    if still_open:
        parts.append(
            f"{still_open} question{'s' if still_open > 1 else ''} that the runs cannot answer"
        )
    if waiting:
        told = [f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in sorted(waiting.items())]
        parts.append(f"{', '.join(told)} [not run yet](discussion.md)")
    return f"Registered, and without a card: {'; '.join(parts)}." if parts else ""


def caption(summary: Summary) -> dict[str, str]:
    """Of the figure: which arm is highest, its tasks, and what was not run, for a sentence each."""
    rates = summary.rates
    best = rates.loc[rates.groupby(["scale", "language"], sort=False)["pass_at_k"].idxmax(), "arm"]
    tasks = rates.groupby("scale", sort=False)["tasks"].agg(span)
    return {
        "hero-best": " or ".join(dict.fromkeys(best)),
        "hero-n": "; ".join(f"{n} tasks a language ({scale})" for scale, n in tasks.items()),
        "hero-missing": "; ".join(summary.missing) + "." if summary.missing else "",
    }


def preview(summary: Summary) -> bytes:
    """The picture shown where the page is linked to, as PNG: figure and finding of the first scale."""
    finding = sentence(dict([next(iter(summary.findings.items()))]))
    figure = hero.card(summary.rates, "FLeX, reproduced and audited", finding)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, transparent=False, facecolor="white")
    plt.close(figure)
    return picture.getvalue()


def glance(states: States, profile: str, kind: str) -> pd.DataFrame:
    """The claims of a kind of ``profile`` with their verdicts: of claims all, with what was published and a
    column for every other scale; of others those that have runs."""
    claims, state = states[profile]
    claims = claims[claims["kind"] == kind]
    if kind != "claim":
        ran = state.loc[claims.index, "verdict"] != "not run"
        return shown.table(claims[ran], state, here=f"{profile} study", with_published=False)
    others = {
        f"{SCALES[name].partition(' on ')[0]} (simultaneous 95 % interval)": became
        for name, (_, became) in states.items()
        if name != profile
    }
    return shown.table(claims, state, here=f"{profile} study", with_published=True, beside=others)


def _is_open(claim: Any, row: pd.Series) -> bool:
    """Whether a question without an answer has no card of any kind."""
    shown = row["verdict"] != "cannot tell" or claim.id == BEST or _topic(claim)
    return claim.kind == "question" and not shown


def _topic(claim: Any) -> tuple[str, str] | None:
    """That of `TOPICS` with whose card a claim is counted."""
    return next((t for t in TOPICS if claim.kind == t[0] and claim.id.startswith(t[1])), None)


def _page(name: str, pages: Mapping[str, str]) -> str:
    return next((page for start, page in pages.items() if name.startswith(start)), "claims")


def _each(states: States) -> Iterator[tuple[str, Any, pd.Series]]:
    places = {name: place for place, name in enumerate(SHORT)}
    every = [
        (p, claim, state) for p, (claims, state) in states.items() for claim in claims.itertuples()
    ]
    for profile, claim, state in sorted(every, key=lambda e: places.get(e[1].id, len(places))):
        yield profile, claim, state.loc[claim.id]


def citation(root: Path = paths.ROOT) -> str:
    """How to cite the study, as BibTeX in Markdown, from CITATION.cff."""
    work = _citation_file(root)
    year = work["date-released"].year
    authors = " and ".join("{" + author["name"] + "}" for author in work["authors"])
    return (
        f"```bibtex\n@software{{flexaudit{year},\n  title   = {{{{{work['title']}}}}},\n"
        f"  author  = {{{authors}}},\n  year    = {{{year}}},\n  version = {{{work['version']}}},\n}}\n```"
    )


def repository(root: Path = paths.ROOT) -> str:
    """Where code, runs and changes are to be found: links, if CITATION.cff has `repository-code`."""
    url = _citation_file(root).get("repository-code")
    if url:
        return f"[Repository]({url}) · [Changelog]({url}/blob/main/CHANGELOG.md)"
    return (
        "Code, runs and changelog (`CHANGELOG.md`) are in the folder that this site was built from with "
        "`make book`; the runs are in `data/runs`. [Changelog](changelog.md)."
    )


def _citation_file(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
