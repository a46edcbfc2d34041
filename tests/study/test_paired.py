"""Differences of two runs: errors by enumeration, known verdicts, what a design could have seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from flexlib.errors import FlexError
from flexlib.study import inference, paired
from flexlib.study.paired import Rates, TwoRuns

SHARES = [
    (0, 0),
    (0.01, 0),
    (0.02, 0.02),
    (0.05, 0),
    (0.1, 0.02),
    (0.2, 0.05),
    (0.3, 0.3),
    (0.02, 0.4),
]


@pytest.mark.parametrize(("n", "level"), [(20, 0.025), (30, 0.00625)])
def test_a_bound_is_wrong_no_more_often_than_it_says(n, level):
    """By enumeration of all outcomes; given the discordance alone it is wrong nearly always at 0.01."""
    outcomes = [(won, lost) for won in range(n + 1) for lost in range(n + 1 - won)]
    bounds = [(TwoRuns(*o, n).bound(level, 1), TwoRuns(*o, n).bound(level, -1)) for o in outcomes]
    for won, lost in SHARES:
        true = won - lost
        chance = multinomial.pmf(
            [(w, v, n - w - v) for w, v in outcomes], n, [won, lost, 1 - won - lost]
        )
        for side in (0, 1):
            wrong = [low > true if side == 0 else high < true for low, high in bounds]
            assert chance[wrong].sum() <= level * 1.01


@pytest.mark.parametrize(("won", "n", "level"), [(0.4, 50, 0.025), (0.2, 100, 0.00625)])
def test_of_what_one_run_solves_alone_no_more_is_claimed_than_its_binomial_allows(won, n, level):
    """The other solves nothing alone: the score's tail is up to 1.8 times too light there."""
    wrong = [k for k in range(n + 1) if TwoRuns(k, 0, n).tail(won, 1) <= level]
    assert 0 < binom.pmf(wrong, n, won).sum() <= level
    mirrored = [k for k in range(n + 1) if TwoRuns(0, k, n).tail(-won, -1) <= level]
    assert mirrored == wrong


def test_exact_alone_would_claim_too_much_of_one_differing_problem():
    exact = inference.Binomial(1, 1, -1 / 40, 2 / 40, 40, (1, 1))
    assert exact.bound(0.025, -1) <= 1 / 40
    assert TwoRuns(1, 0, 40).bound(0.025, -1) > 0.1


@pytest.mark.parametrize(("won", "lost"), [(9, 1), (0, 8), (5, 5)])
def test_against_no_change_it_is_never_bolder_than_mcnemar(won, lost):
    exact = binomtest(won, won + lost, 0.5, alternative="greater").pvalue
    assert TwoRuns(won, lost, 50).tail(0.0, 1) >= exact - 1e-12


@pytest.mark.parametrize("effect", [TwoRuns(7, 2, 50), TwoRuns(0, 0, 30), Rates(0.1, 3.0, 60)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_bound_lies_beyond_a_null_exactly_if_its_tail_is_below_the_level(effect, side):
    for level in (0.025, 0.00625):
        bound = effect.bound(level, side)
        assert effect.tail(bound - side * 1e-6, side) <= level
        assert effect.tail(bound + side * 1e-6, side) >= level


def test_verdicts_and_rates():
    assert paired.difference([1, 0, 1], [0, 0, 1]) == TwoRuns(1, 0, 3)
    found = paired.difference([0.5, 0.25, 1], [0.25, 0.25, 1])
    assert found.estimate == pytest.approx(1 / 12) and found.tasks == 3
    with pytest.raises(FlexError, match="same problems"):
        paired.difference([1, 0], [1])
    with pytest.raises(FlexError, match="at least one"):
        paired.difference([], [])


def test_rates_that_agree_everywhere_do_not_show_that_none_can_differ():
    same = np.full(40, 0.5)
    assert paired.difference(same, same).bound(0.025, 1) < -0.03


@pytest.mark.parametrize(
    ("low", "high", "word", "lost"),
    [
        (0.01, 0.2, "gained", False),
        (-0.2, -0.01, "lost", None),
        (-0.2, -0.06, "lost", True),
        (-0.04, -0.01, "lost", False),
        (-0.04, 0.049, "no change larger than x", False),
        (-0.04, 0.05, "cannot tell", False),
        (-0.06, 0.3, "cannot tell", None),
    ],
)
def test_words(low, high, word, lost):
    assert paired.word(low, high, 0.05) == word
    assert paired.lost_more(low, high, 0.05) is lost


def test_what_a_design_could_have_seen_it_sees():
    """Four times in five, by simulation."""
    rng = np.random.default_rng(0)
    n, discordance, level = 200, 0.2, 0.0125
    change = paired.detectable(discordance, n, level)
    won, lost = (discordance + change) / 2, (discordance - change) / 2
    draws = rng.multinomial(n, [won, lost, 1 - discordance], size=1000)
    seen = np.mean([TwoRuns(w, v, n).tail(0.0, 1) <= level for w, v, _ in draws])
    assert 0.72 < seen < 0.88


def test_of_few_problems_no_small_change_can_be_seen():
    """All seven must differ one way: two to the minus seven is the first below the level."""
    assert paired.detectable(0.0, 40, 0.0125) == 7 / 40
    assert paired.detectable(0.0, 6, 0.0125) == math.inf


def test_problems_that_could_tell_do():
    margin = 0.05
    for level in (0.025, 0.0125, 0.00625, 0.05 / 22):
        n = paired.tasks_needed(0.0, 0.0, margin, level)  # nothing differs
        assert (
            TwoRuns(0, 0, n + 1).bound(level, -1) < margin < TwoRuns(0, 0, n - 2).bound(level, -1)
        )
    level = 0.0125
    assert paired.tasks_needed(0.2, 0.4, margin, level) < 200
    assert paired.tasks_needed(0.025, 0.4, margin, level) > 2000


def test_a_family_of_all_questions_has_one_level():
    """Words that are read off the intervals of the direction `any` are wrong in no more than alpha."""
    rng = np.random.default_rng(1)
    margin, wrong = 0.05, 0
    for _ in range(100):
        effects = {
            str(i): TwoRuns(*rng.multinomial(150, [p, q, 1 - p - q])[:2], 150)
            for i, (p, q) in enumerate([(0.1, 0.1), (0.05, 0.1), (0.15, 0.1)])
        }
        true = {"0": 0.0, "1": -0.05, "2": 0.05}
        table = inference.simultaneous(effects, dict.fromkeys(effects, ("any", margin)))
        for i, row in table.iterrows():
            word = paired.word(row["low"], row["high"], margin)
            false = {"gained": true[i] <= 0, "lost": true[i] >= 0}
            false["no change larger than x"] = abs(true[i]) >= margin
            if false.get(word, False):
                wrong += 1
                break
    assert wrong / 100 <= 0.05
