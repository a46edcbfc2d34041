"""Hidden states of twins: each measure against its definition or a case whose answer is known."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from flexlib import analysis, cli, models, paths
from flexlib.analysis import representations as rep
from flexlib.errors import FlexError
from flexlib.runs import store
from flexlib.runs.machine import Machine
from flexlib.tasks.benchmarks import SIBLINGS, TWINS


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(n: int, width: int, seed: int) -> np.ndarray:
    return rng(seed).normal(size=(n, width))


def cka_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC_1 of Song et al. 2012, term by term; of the states as they are, not centred."""

    def hsic(k, m):
        n, one = len(k), np.ones(len(k))
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        first = np.trace(k @ m)
        second = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (first + second - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


# --- CKA ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [0.0, 0.5, 2.0])
def test_cka_is_that_of_the_definition(shared):
    x, noise = normal(60, 7, 1), normal(60, 4, 2)
    y = noise + shared * x[:, :4] + 3.0
    value, _ = rep.cka(x, y, rng())
    assert value == pytest.approx(cka_by_definition(x, y), abs=1e-12)


def test_hsic_has_no_bias():
    """Summed over all subsets of five of nine, it is that of all nine: a U-statistic of the data."""
    from itertools import combinations

    x, y = normal(9, 3, 1), normal(9, 2, 2) + 1.0

    def hsic(rows):
        k, m = (rep._u_centred(z[rows] @ z[rows].T) for z in (x, y))
        return (k * m).sum() / (len(rows) * (len(rows) - 3))

    parts = [hsic(list(rows)) for rows in combinations(range(9), 5)]
    assert np.mean(parts) == pytest.approx(hsic(list(range(9))), rel=1e-10)


def test_cka_does_not_see_rotation_scale_or_shift():
    x, y = normal(80, 12, 1), normal(80, 12, 1) + normal(80, 12, 2)
    turn, _ = np.linalg.qr(normal(12, 12, 3))
    value, _ = rep.cka(x, y, rng())
    for other in (y @ turn, 17.0 * y, y + 100.0, 0.3 * y @ turn - 5.0):
        assert rep.cka(x, other, rng())[0] == pytest.approx(value, abs=1e-10)
    assert rep.cka(x, x @ turn * 2 + 1, rng())[0] == pytest.approx(1.0, abs=1e-12)
    assert rep.cka(x, y * np.arange(1, 13), rng())[0] != pytest.approx(value, abs=1e-3)


def test_cka_of_independent_states_is_about_zero_also_in_many_dimensions():
    values = [rep.cka(normal(100, 300, i), normal(100, 300, 1000 + i), rng())[0] for i in range(40)]
    assert abs(np.mean(values)) < 0.01 and np.std(values) < 0.03
    x, y = (z - z.mean(0) for z in (normal(100, 300, 0), normal(100, 300, 1000)))
    k, m = x @ x.T, y @ y.T
    assert (k * m).sum() / np.sqrt(
        (k * k).sum() * (m * m).sum()
    ) > 0.5  # what the correction is for


def test_the_null_of_cka_is_that_of_shuffled_pairs():
    x = normal(200, 10, 1)
    value, null = rep.cka(x, x + 0.1 * normal(200, 10, 2), rng())
    assert value > 0.95 and abs(null) < 0.02


def test_cka_of_states_that_do_not_differ_is_not_defined():
    same = np.tile(rng().normal(size=8), (20, 1)) * 0.1  # whose mean is rounded
    value, null = rep.cka(same, normal(20, 8, 1), rng())
    assert np.isnan(value) and np.isnan(null)


# --- retrieval ----------------------------------------------------------------------------------


def test_retrieval_of_a_case_with_a_known_answer():
    """Eight directions; two twins are exchanged, and one state lies between two of the other side."""
    x = np.concatenate([np.eye(4), -np.eye(4)])
    assert rep.retrieval(x, 5 * x + 2, rng())[0] == 1.0  # length and shift do not count
    exchanged = x[[1, 0, 2, 3, 4, 5, 6, 7]]
    assert rep.retrieval(x, exchanged, rng())[0] == 6 / 8
    doubled = x.copy()
    doubled[[0, 4]] = [x[0] + x[1], -x[0] - x[1]]
    # From x each finds its twin but e0 and e1 (and their opposites): e0's is the only candidate at 45
    # degrees, e1 has its own at 0. From the other side the states between have two nearest: a half.
    assert rep.retrieval(x, doubled, rng())[0] == pytest.approx((8 / 8 + (6 + 2 * 0.5) / 8) / 2)


def test_retrieval_is_that_of_a_search_by_hand():
    x = normal(50, 6, 1)
    y = x + 0.8 * normal(50, 6, 2)
    a, b = x - x.mean(0), y - y.mean(0)

    def found(these, those):
        count = 0
        for i, state in enumerate(these):
            cosines = [state @ o / np.linalg.norm(state) / np.linalg.norm(o) for o in those]
            count += int(np.argmax(cosines)) == i
        return count / len(these)

    expected = (found(a, b) + found(b, a)) / 2
    assert 0.1 < expected < 0.9
    assert rep.retrieval(x, y, rng())[0] == pytest.approx(expected)


def test_retrieval_by_chance_is_one_of_all():
    same = np.tile(rng().normal(size=8), (20, 1)) * 0.1
    assert rep.retrieval(same, same + 1, rng()) == pytest.approx((1 / 20, 1 / 20))
    value, null = rep.retrieval(normal(400, 20, 1), normal(400, 20, 2), rng())
    assert value < 0.02 and null == pytest.approx(1 / 400, abs=1e-3)


# --- probe --------------------------------------------------------------------------------------


def test_the_probe_tells_languages_apart_where_a_plane_does():
    x, y = normal(100, 10, 1), normal(100, 10, 2)
    x[:, 3] = abs(x[:, 3]) + 0.5
    y[:, 3] = -abs(y[:, 3]) - 0.5
    value, null = rep.probe(1000 + x, 1000 + y, rng())
    assert value > 0.97 and null == pytest.approx(0.5, abs=0.05)


def test_the_probe_of_states_alike_is_at_chance():
    values = [rep.probe(normal(200, 10, i), normal(200, 10, 900 + i), rng())[0] for i in range(20)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
    same = normal(200, 10, 1)
    assert rep.probe(same, same, rng())[0] == pytest.approx(0.5)  # nothing but the task to go by


def test_the_probe_is_not_fitted_on_the_twin():
    """Each task has a direction of its own on which its two states lie apart: no other task tells how."""
    n = 40
    x = np.eye(n) * rng(1).choice([-1.0, 1.0], size=n)
    value, _ = rep.probe(x, -x, rng())
    assert value == pytest.approx(0.5, abs=0.15)


def test_the_probe_is_ridge_regression_fold_by_fold():
    x, y = normal(30, 4, 1), normal(30, 4, 2) + 0.7
    fold = rng(5).permutation(30) % rep.FOLDS
    right = 0
    for held in range(rep.FOLDS):
        inside = fold != held
        states = np.concatenate([x[inside], y[inside]])
        labels = np.repeat([1.0, -1.0], inside.sum())
        mean = states.mean(0)
        penalty = rep.RIDGE * np.trace((states - mean).T @ (states - mean)) / 4
        padded = np.concatenate([states - mean, np.sqrt(penalty) * np.eye(4)])
        w, *_ = np.linalg.lstsq(padded, np.concatenate([labels, np.zeros(4)]), rcond=None)
        right += ((x[~inside] - mean) @ w > 0).sum() + ((y[~inside] - mean) @ w < 0).sum()
    assert 0.5 < right / 60 < 0.95
    assert rep.probe(x, y, rng(5))[0] == pytest.approx(right / 60)


# --- states and runs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def test_states_are_those_of_each_prompt_read_alone(base, monkeypatch):
    monkeypatch.setattr(rep, "_BATCH", 3)
    model, tokenizer = models.load_model(base, "fp32", "cpu"), models.load_tokenizer(base)
    prompts = [word * (1 + i % 2) for i, word in enumerate(tiny.WORDS)]
    found = rep.states_of(model, tokenizer, prompts)
    for i, prompt in enumerate(prompts):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            alone = model(input_ids=ids, output_hidden_states=True).hidden_states
        assert len(alone) == len(found["last"]) == 3  # the embedding and two blocks
        for layer, h in enumerate(alone):
            assert found["last"][layer, i] == pytest.approx(h[0, -1].numpy(), abs=1e-5)
            assert found["mean"][layer, i] == pytest.approx(h[0].mean(0).numpy(), abs=1e-5)


def test_twins_of_humaneval_are_known_by_their_number():
    same = ["HumanEval/7", "HumanEval_7_filter_by_substring", "HumanEval_7"]
    assert {rep.task(name) for name in same} == {"HumanEval/7"}
    others = ["HumanEval_77_iscube", "NanoBench/test/7", "mbpp_7_find_char_long"]
    assert [rep.task(name) for name in others] == ["HumanEval/77", *others[1:]]


def test_what_meets_the_vocabulary_is_one_state_a_prompt_and_contiguous(base):
    """Else the logits take gigabytes, or minutes, and none is used."""
    model, tokenizer = models.load_model(base, "fp32", "cpu"), models.load_tokenizer(base)
    seen = []
    model.lm_head.register_forward_pre_hook(lambda _, states: seen.append(states[0]))
    rep.states_of(model, tokenizer, [f"def f{i}():\n" for i in range(3)])
    assert [(s.shape[:2], s.is_contiguous()) for s in seen] == [((3, 1), True)]


def test_rows_name_what_is_not_defined(base):
    model, tokenizer = models.load_model(base, "fp32", "cpu"), models.load_tokenizer(base)
    first = rep.states_of(model, tokenizer, [f"def f{i}():\n" for i in range(12)])
    second = rep.states_of(model, tokenizer, [f"long f{i}() {{" for i in range(12)])
    rows = rep.of_states(first, second)
    assert len(rows) == 2 * 3 * 3  # states, layers, quantities
    at = {(r["state"], r["layer"], r["quantity"]): r for r in rows}
    assert (
        at["last", 0, "cka"]["value"] == at["last", 0, "cka"]["null"] == ""
    )  # one and the same token
    assert float(at["last", 0, "retrieval"]["value"]) == pytest.approx(1 / 12, rel=1e-3)
    assert float(at["mean", 0, "retrieval"]["value"]) == 1.0  # the name is in both
    assert float(at["last", 0, "probe"]["value"]) == 1.0
    assert rep.of_states(first, second) == rows
    with pytest.raises(FlexError, match="4 twins are too few; 5 at least"):
        rep.of_states(*({k: v[:, :4] for k, v in side.items()} for side in (first, second)))


@pytest.fixture
def runs(tmp_path):
    """A store with a trained run and the base."""
    nano = store.runs(profile="nano").query("arm in ['base', 'lora']").groupby("arm").first()
    for run in nano["run_id"]:
        shutil.copytree(paths.RUNS / run, tmp_path / run)
    return tmp_path, nano["run_id"]


def test_a_compact_run_is_passed_over_with_a_word(runs):
    folder, ids = runs
    store.compact(folder / ids["lora"])
    [(_, outcome)] = analysis.analyse(
        "representations", Machine(store=folder), [ids["lora"]], again=True
    )
    assert outcome == f"not defined: run {ids['lora']} has no adapter; it was stored compactly"


def test_another_base_is_refused(runs, base):
    folder, ids = runs
    machine = Machine(store=folder, base_model=base)
    [(_, outcome)] = analysis.analyse("representations", machine, [ids["base"]], again=True)
    assert outcome.startswith("not defined:") and "is not the base of run" in outcome


def test_the_command_takes_a_copy_of_the_base(runs, base, capsys):
    folder, ids = runs
    command = ["analyse", "representations", ids["base"], "--again", "--store", str(folder)]
    assert cli.main([*command, "--base-model", str(base), "--device", "cpu"]) == 0
    assert f"{base} is not the base of run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("function", "missing"),
    [(rep.of_run, "nanobench-java"), (rep.of_languages, "nanobench-python")],
)
def test_a_run_that_was_not_asked_in_a_language_has_no_twins(runs, monkeypatch, function, missing):
    folder, ids = runs
    config = store.read_config(folder / ids["base"])
    del config["benchmarks"][missing]
    monkeypatch.setattr(rep.store, "read_config", lambda run: config)
    assert function(folder / ids["base"], Machine(store=folder)) is None


def test_the_stored_numbers_are_those_that_are_computed_now(runs):
    folder, ids = runs
    before = analysis.read("representations", folder).query("arm == 'base'").reset_index(drop=True)
    again = analysis.analyse("representations", Machine(store=folder), [ids["base"]], again=True)
    assert list(again) == [(ids["base"], "made")]
    after = analysis.read("representations", folder).query("arm == 'base'").reset_index(drop=True)
    assert len(before) == 2 * 6 * 3
    pd.testing.assert_frame_equal(after, before, atol=3e-3)  # a prompt of 500, by rounding


def test_every_two_languages_are_compared_and_one_pair_is_that_of_the_twins(runs):
    folder, ids = runs
    made = analysis.analyse("languages", Machine(store=folder), [ids["lora"]], again=True)
    assert list(made) == [(ids["lora"], "made")]
    found = analysis.read("languages", folder).query("arm == 'lora'")
    pairs = found[["first", "second"]].drop_duplicates()
    assert len(pairs) == 6 and (pairs["first"] != pairs["second"]).all()
    assert len(found) == 6 * 6 * 2  # pairs, layers, quantities
    assert found["null"].dropna().abs().max() < 0.02
    twins = analysis.read("representations", folder).query("arm == 'lora' and state == 'last'")
    both = found.query("first == 'python' and second == 'java'").merge(
        twins, on=["layer", "quantity"], suffixes=("", "_twins")
    )
    assert len(both) == 6 * 2
    np.testing.assert_allclose(both["value"], both["value_twins"], atol=3e-3)


def test_a_task_has_each_language_once():
    """MBPP's tasks in Java are other tasks, and MultiPL-E's Python is HumanEval again."""
    others = ["java", "js", "cpp", "ts", "php", "go", "rs", "lua", "rkt"]
    assert set(SIBLINGS["humaneval-twins"]) == {"humaneval", *(f"multipl-e-{o}" for o in others)}
    for name, (python, java) in TWINS.items():
        assert SIBLINGS[name][0] == python and java in SIBLINGS[name]
