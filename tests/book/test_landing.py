"""The sentence of the landing page follows from the intervals; what is missing is said."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from flexlib.book import landing
from flexlib.book.landing import Effect
from flexlib.figures import hero
from flexlib.study import paper

UP, DOWN, SAME, WIDE = (
    Effect(0.17, 0.13, 0.2),
    Effect(-0.12, -0.16, -0.09),
    Effect(0.001, -0.01, 0.012),
    Effect(0.01, -0.05, 0.07),
)


@pytest.mark.parametrize(
    ("effects", "says"),
    [
        ((UP, DOWN, SAME), ("makes Java better, without any Fourier", "most of that gain away", "frequencies mean nothing")),
        ((UP, Effect(-0.03, -0.05, -0.01), SAME), ("part of that gain away",)),
        ((UP, UP, UP), ("makes Java better", "the penalty as released raises it", "frequencies do matter")),
        ((DOWN, SAME, SAME), ("makes Java worse", "changes nothing")),
        ((WIDE, WIDE, WIDE), ("too few to tell",)),
        ((WIDE, WIDE, None), ("too few to tell",)),
        ((SAME, WIDE, WIDE), ("show no change of Java", "cannot tell whether the penalty changes it", "cannot tell whether its frequencies")),
        ((UP, None, None), ("makes Java better", "penalty was not run")),
        ((UP, DOWN, None), ("control without frequencies was not run",)),
        ((None, UP, SAME), ("was not run", "raises it")),
    ],
)  # fmt: skip
def test_the_finding_follows_from_the_intervals(effects, says):
    sentence = landing.finding(*effects, 0.02)
    assert all(part in sentence for part in says), sentence
    assert sentence.endswith(".") and sentence.count(".") == 1


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("cannot tell", " Whether the penalty helps at its best setting"), ("yes", " At its best setting the penalty raises"),
     ("no", " At its best setting the penalty does not raise")],
)  # fmt: skip
def test_the_finding_says_what_the_penalty_does_at_its_best(verdict, said):
    alone = landing.finding(UP, DOWN, SAME, 0.02)
    at_best = landing.finding(UP, DOWN, SAME, 0.02, verdict)
    assert "as released" in alone
    assert at_best.startswith(alone) and said in at_best.removeprefix(alone)


def test_scales_that_agree_are_one_sentence_and_others_two():
    assert landing.sentence({"nano": "It helps.", "small": "It helps."}) == "It helps."
    apart = landing.sentence({"nano": "It helps.", "small": "It hurts."})
    assert apart == (
        f"On {landing.SCALES['nano']}: it helps. On {landing.SCALES['small']}: it hurts."
    )


def test_an_arm_without_runs_is_named_and_may_have_a_stand_in():
    everything = {
        "base",
        "lora",
        "fourier-released",
        "fourier-units",
        "fourier-permuted",
        "l2-norm",
        "l2-matched",
    }
    arms, notes = landing.shown_arms(everything)
    assert "fourier-units" in arms and "fourier-permuted" not in arms and not notes
    assert "l2-norm" in arms and "l2-matched" not in arms
    arms, notes = landing.shown_arms(everything - {"fourier-units", "l2-norm", "l2-matched"})
    assert arms == ["base", "lora", "fourier-released", "fourier-permuted"]
    assert notes == [
        "Fourier, units renumbered: not run; Fourier, index permuted stands in", "L2 of equal norm: not run",
    ]  # fmt: skip


def verdicts(
    profile: str, arms: dict[str, float], benchmarks=("humaneval", "multipl-e-java")
) -> pd.DataFrame:
    rows = [
        {"run_id": "", "profile": profile, "arm": arm, "seed": seed, "benchmark": b, "language": language,
         "task_id": f"t{t}", "sample": 0, "verdict": "", "passed": t < rate * 20, "detail": ""}
        for arm, rate in arms.items() for seed in ((0,) if arm == "base" else (1, 2))
        for b, language in zip(benchmarks, ("python", "java"), strict=True) for t in range(20)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_profile_with_runs_is_in_the_summary():
    nano = verdicts("nano", {"base": 0.2, "lora": 0.8}, ("nanobench-python", "nanobench-java"))
    both = pd.concat([nano, verdicts("small", {"base": 0.5, "lora": 0.5, "fourier-released": 0.1})])
    summary = landing.summary(both, seed=0, states={})
    assert list(dict.fromkeys(summary.rates["scale"])) == [
        landing.SCALES["nano"],
        landing.SCALES["small"],
    ]
    assert set(summary.findings) == {"nano", "small"}
    assert "makes Java better" in summary.findings["nano"] and "not run" in summary.findings["nano"]
    at = summary.rates.set_index(["scale", "arm", "language"])["pass_at_k"]
    assert at[landing.SCALES["small"], "Fourier, as released", "Java"] == pytest.approx(0.1)
    assert len(summary.by_seed) == 2 * (1 + 2) + 2 * (1 + 2 + 2)
    assert any("L2 of equal norm: not run" in note for note in summary.missing)
    base = verdicts("small", {"base": 0.5})  # says nothing of what training does
    alone = landing.summary(pd.concat([nano, base]), seed=0, states={})
    assert set(alone.findings) == {"nano"}
    assert set(landing.summary(base, seed=0, states={}).findings) == {"small"}


def test_cards_show_what_was_run_and_name_what_was_not():
    claims = pd.DataFrame(
        {"id": ["L1", "C3-lora", "X"], "statement": ["s1", "s3", "new claim"], "metric": "pass@1", "kind": "claim"}
    )  # fmt: skip
    claims = claims.set_index("id", drop=False)
    state = pd.DataFrame(
        {"difference": [0.2, -0.123, None], "low": [0.1, -0.16, None], "high": [0.3, -0.09, None], "seeds": [10, 10, None],
         "verdict": ["yes", "not reproduced", "not run"]}, index=["L1", "C3-lora", "X"])  # fmt: skip
    text = landing.cards({"nano": (claims, state)}, {"L": "lora", "C3": "spectra"})
    assert text.index("raises Java over plain LoRA") < text.index("raise Python?")  # C3 comes first
    assert "**−12.3 points**" in text and "−16.0 to −9.0, 10 seeds" in text
    assert "(lora.md)" in text and "new claim" not in text
    line = "Registered, and without a card: 1 claim [not run yet](discussion.md)."
    assert landing.without_card({"nano": (claims, state)}) == line
    state.loc["L1", "verdict"] = "cannot tell"
    asked = claims.assign(kind=["question", "claim", "claim"])
    assert "raise Python?" not in landing.cards({"nano": (asked, state)}, {})
    best = {"L1": landing.BEST}  # has its card, answered or not
    asked_best = asked.assign(id=asked["id"].replace(best)).rename(index=best)
    text = landing.cards({"nano": (asked_best, state.rename(index=best))}, {})
    assert landing.SHORT[landing.BEST] in text
    told = landing.without_card({"nano": (asked, state)})
    assert "card: 1 question that the runs cannot answer; 1 claim [not" in told


def test_predictions_share_a_card_that_counts_their_verdicts():
    ids = ["M-1", "M-2", "M-3", "M-4", "H-1", "S-M-1"]
    claims = pd.DataFrame({"id": ids, "statement": ids, "metric": "pass@1", "kind": "prediction"})
    verdicts = ["confirmed", "confirmed", "not confirmed", "not run", "cannot tell", "confirmed"]
    state = pd.DataFrame({"verdict": verdicts, "difference": 0.0}, index=ids)
    states = {"nano": (claims.set_index("id", drop=False), state)}
    text = landing.cards(states, {"M": "spectra", "H": "hidden"})
    penalty, hidden = text.split("grid-item-card")[1:]
    assert "[Predictions](spectra.md)" in penalty and "[Predictions](hidden.md)" in hidden
    assert penalty.index("2 <span") < penalty.index("1 <span") < penalty.index("of 4")
    assert "cannot tell" in hidden and "of 1" in hidden
    assert landing.without_card(states).endswith("card: 1 prediction [not run yet](discussion.md).")


def test_questions_of_a_topic_share_a_card_answered_or_not():
    ids = ["T-1", "T-2", "T-3", "M-1"]  # the last letter is that of a topic of predictions
    claims = pd.DataFrame({"id": ids, "statement": ids, "metric": "pass@1", "kind": "question"})
    verdicts = ["yes", "cannot tell", "not run", "yes"]
    state = pd.DataFrame({"verdict": verdicts, "difference": 0.0, "low": 0.0, "high": 0.0, "seeds": 5}, index=ids)  # fmt: skip
    states = {"nano": (claims.set_index("id", drop=False), state)}
    text = landing.cards(states, {"T": "transfer", "M": "spectra"})
    single, topic = text.split("grid-item-card")[1:]
    assert "[M-1, profile nano](spectra.md)" in single and "[Questions](transfer.md)" in topic
    assert "cannot tell" in topic and "of 3" in topic
    assert landing.without_card(states).endswith("card: 1 question [not run yet](discussion.md).")


def test_where_the_repository_is_comes_from_one_place(tmp_path):
    (tmp_path / "CITATION.cff").write_text("title: t\n")
    assert "data/runs" in landing.repository(tmp_path)
    (tmp_path / "CITATION.cff").write_text("repository-code: https://example.org/r\n")
    assert landing.repository(tmp_path).startswith("[Repository](https://example.org/r)")


def test_the_caption_names_the_highest_arms_and_what_was_not_run():
    rates = pd.DataFrame(
        [["one", "base", "Java", 40, 0.2], ["one", "LoRA", "Java", 40, 0.3], ["two", "base", "Java", 158, 0.4],
         ["two", "LoRA", "Java", 158, 0.1], ["two", "LoRA", "Python", 164, 0.9]],
        columns=["scale", "arm", "language", "tasks", "pass_at_k"])  # fmt: skip
    said = landing.caption(landing.Summary(rates, rates, ["L2: not run"], {}))
    assert said["hero-best"] == "LoRA or base"
    assert said["hero-n"] == "40 tasks a language (one); 158 to 164 tasks a language (two)"
    assert said["hero-missing"] == "L2: not run."


def test_at_a_glance_claims_are_all_there_and_questions_only_with_runs():
    ids = ["L1", "Q1", "Q2"]
    claims = pd.DataFrame(
        paper.claims("nano").loc[["C3-lora", "C3-lora", "C3-lora"]].assign(id=ids)
    )
    claims["kind"] = ["claim", "question", "question"]
    claims = claims.set_index("id", drop=False)
    state = pd.DataFrame(
        {"id": ids, "difference": 0.1, "low": 0.05, "high": 0.2, "adjusted_p": 0.01, "at_floor": False,
         "tasks": 40, "seeds": 10, "bases": 1, "verdict": ["not run", "yes", "not run"]}, index=ids)  # fmt: skip
    states = {"nano": (claims, state), "small": (claims, state)}
    of_claims = landing.glance(states, "nano", "claim")
    assert list(of_claims["no."].str.rstrip("†")) == ["L1"]
    assert [c.partition(" (")[0] for c in of_claims.columns[2:]] == [
        "published",
        "nano study",
        "Qwen2.5-Coder 0.5B",
    ]
    of_questions = landing.glance(states, "nano", "question")
    assert list(of_questions["no."].str.rstrip("†")) == ["Q1"] and not any(
        "published" in c for c in of_questions
    )


def test_the_longest_finding_has_room_in_the_preview():
    longest = max(
        (landing.finding(UP, DOWN, third, 0.02, best) for third in (SAME, UP, WIDE, None) for best in landing.AT_BEST),
        key=len,
    )  # fmt: skip
    rates = pd.DataFrame(
        [["one", arm, language, 40, 2, 0.2, 0.1, 0.3] for arm in ("base", "LoRA") for language in ("Python", "Java")],
        columns=["scale", "arm", "language", "tasks", "seeds", "pass_at_k", "low", "high"])  # fmt: skip
    figure = hero.card(rates, "FLeX", longest)
    renderer = figure.canvas.get_renderer()
    title, text = (t.get_window_extent(renderer) for t in figure.texts)
    axes = figure.axes[0].get_tightbbox(renderer)
    plt.close(figure)
    assert title.y0 > text.y1 and text.y0 > axes.y1
    assert text.x1 < figure.bbox.x1
