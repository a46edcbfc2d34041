"""Audits of adapters whose verdict is known, on the nano model; bad input; and that nothing is made twice."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny

import flexlib
from flexlib import cli, config, formats, models, paths
from flexlib.auditing import changes, form, report, runs, subject, tables, weights
from flexlib.book.chromium import PROGRAM, Chromium
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.runs import preflight, store
from flexlib.runs.doctor import Check
from flexlib.runs.machine import Machine
from flexlib.study import paired
from flexlib.tasks.languages import LANGUAGES


def stored(arm: str, seed: int) -> Path:
    """The run of an arm in the study's own store."""
    found = store.runs(profile="nano").set_index(["arm", "seed"])["run_id"]
    if (arm, seed) not in found:
        pytest.skip(f"the store has no {arm} of seed {seed}")
    return paths.RUNS / found[arm, seed]


def foreign(folder: Path, base: Path, **settings) -> Path:
    """An adapter by plain PEFT: without an update unless ``init_lora_weights`` is False."""
    import peft

    model = models.load_model(base, "fp32", "cpu")
    config = peft.LoraConfig(**{"target_modules": ["q_proj", "v_proj"], "r": 4} | settings)
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Machine:
    folder = tmp_path_factory.mktemp("audits")
    return Machine(store=folder / "store", work_dir=folder / "work", progress=False)


@pytest.fixture(scope="module")
def shuffled(machine, tmp_path_factory) -> tables.Audit:
    """All is asked here: the study's own store would have the answers."""
    adapter = stored("shuffled", 1) / "adapter"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.paths, "RUNS", tmp_path_factory.mktemp("none"))
        return tables.audit(adapter, languages=["python", "java"], limit=30, machine=machine)


@pytest.fixture(scope="module")
def identity(machine, tmp_path_factory) -> tables.Audit:
    """B is 0. Base and adapter are both asked here: nothing but the adapter may differ."""
    folder = tmp_path_factory.mktemp("identity")
    adapter = foreign(folder / "identity", paths.NANO_BASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.paths, "RUNS", folder / "none")
        return flexlib.audit(
            adapter, base_model="data/nano/base", languages=["python"], limit=76, machine=machine
        )


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory) -> Path:
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def arguments(machine: Machine, *more: object) -> list[str]:
    where = ["--store", machine.store, "--work-dir", machine.work_dir, "--quiet"]
    return ["audit", *map(str, [*where, *more])]


# --- known verdicts -----------------------------------------------------------------------------


def test_an_identity_is_no_change(identity):
    [row] = identity.languages.to_dict("records")
    assert row["word"] == "no change larger than x" and row["larger_than"] < 0.05
    assert (row["difference"], row["fixed"], row["broken"]) == (0, 0, 0)
    assert identity.lost_more_than_margin() is False
    assert (identity.modules["norm"] == 0).all() and identity.modules["intruders"].isna().all()
    assert "no change larger than 4.9 points" in "\n".join(report.summary(identity))


def test_an_identity_on_few_problems_cannot_be_told(machine, identity):
    """By the programs of the audit before, of which these are the first."""
    found = tables.audit(
        identity.facts["adapter"],
        base_model="data/nano/base",
        languages=["python"],
        limit=20,
        machine=machine,
    )
    [row] = found.languages.to_dict("records")
    # Tango's interval of n problems that agree excludes 5 points from 1.96 ** 2 * 0.95 / 0.05 = 72.99 on.
    assert row["word"] == "cannot tell" and row["n_that_could"] == 73
    assert found.lost_more_than_margin() is None
    assert found.facts["runs"]["adapter"]["nanobench-python"]["made"] == "before"


@pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
def test_the_reports_of_both_say_so_in_a_browser(identity, shuffled, tmp_path):
    with Chromium() as browser:
        for name, found, said in (
            ("identity", identity, ["no change larger than 4.9 points"]),
            ("shuffled", shuffled, ["lost", "lost"]),
        ):
            page = report.write(found, tmp_path / name)
            seen = browser.visit(page.as_uri())
            assert (seen.requests, seen.errors, seen.failures) == ([page.as_uri()], [], [])
            words = browser.evaluate(
                "[...document.querySelectorAll('.words .word')].map(w => w.innerText)"
            )
            assert words == said
        shown = browser.evaluate("document.querySelectorAll('details').length")
        counts = shuffled.languages[["fixed", "broken"]].sum().sum()
        assert shown == counts


def test_a_shuffled_adapter_has_lost(shuffled):
    assert list(shuffled.languages["word"]) == ["lost", "lost"]
    assert shuffled.lost_more_than_margin() is True
    assert (shuffled.languages["high"] < -0.05).all()
    assert (shuffled.modules["norm"] > 0).all() and (shuffled.modules["directions"] == 10).all()


def test_the_verdicts_are_those_of_the_run_that_trained_the_adapter(shuffled):
    """Which was made on its own, and graded by its own pipeline; and those of the base."""
    for arm, run in (("adapter", stored("shuffled", 1)), ("base", stored("base", 0))):
        for name, rows in shuffled.programs.groupby("benchmark"):
            wanted = {v["task_id"]: v["verdict"] for v in store.read_verdicts(run, name)}
            answers = {c["task_id"]: c["completion"] for c in store.read_completions(run, name)}
            assert len(rows) == 30
            for row in rows.to_dict("records"):
                assert row[f"{arm}_verdict"] == wanted[row["task_id"]]
                assert row[f"{arm}_program"] == answers[row["task_id"]]


def test_the_table_is_the_count_of_its_programs(shuffled):
    """And its interval that of the effect with these counts, at half a family's level."""
    for row in shuffled.languages.to_dict("records"):
        own = shuffled.programs[shuffled.programs["benchmark"] == row["benchmark"]]
        base, adapter = own["base_passed"], own["adapter_passed"]
        assert (base.mean(), adapter.mean()) == (row["base"], row["adapter"])
        assert (adapter & ~base).sum() == row["fixed"] and (base & ~adapter).sum() == row["broken"]
        effect = paired.TwoRuns(row["fixed"], row["broken"], 30)
        assert effect.bound(1 - row["confidence"] - 0.0125, -1) == pytest.approx(row["high"])
        assert effect.bound(0.0125, 1) == pytest.approx(row["low"])
        assert row["adapter_not_compiling"] == (own["adapter_verdict"] == "compile_error").mean()


def test_a_plain_peft_adapter_of_another_base_loads(machine, tiny_base, tmp_path):
    """Without a task type, with biases and a whole module; the base is a folder that it names itself."""
    adapter = foreign(
        tmp_path / "elsewhere", tiny_base, init_lora_weights=False, bias="all",
        modules_to_save=["lm_head"],
    )  # fmt: skip
    about = json.loads((adapter / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(tiny_base) and about["task_type"] is None
    found = tables.audit(adapter, profile="nano", languages=["python"], limit=3, machine=machine)
    assert found.facts["base"] == tiny_base.name and len(found.modules) == 4
    programs = found.programs
    assert (programs["base_program"] != programs["adapter_program"]).any()
    assert set(found.languages["word"]) == {"cannot tell"}


# --- made once ----------------------------------------------------------------------------------


def test_what_was_answered_is_found_again(shuffled, machine, monkeypatch):
    """In another process, as it were: nothing is generated."""
    adapter = stored("shuffled", 1) / "adapter"
    monkeypatch.setattr(runs.paths, "RUNS", machine.store)
    monkeypatch.setattr(runs.pipeline, "run", lambda *a: pytest.fail("made again"))
    fewer = tables.audit(adapter, languages=["java"], limit=25, machine=machine)
    assert list(fewer.languages["problems"]) == [25]
    with pytest.raises(pytest.fail.Exception, match="made again"):
        tables.audit(adapter, languages=["java"], limit=31, machine=machine)


def test_the_run_that_trained_an_adapter_has_its_answers(tmp_path, monkeypatch):
    """Greedy ones; a copy of the adapter is the same one, and another seed's is another."""
    monkeypatch.setattr(runs.pipeline, "run", lambda *a: pytest.fail("made again"))
    machine = Machine(store=tmp_path / "store", work_dir=tmp_path / "work", progress=False)
    trained = stored("lora", 1)
    copy = shutil.copytree(trained / "adapter", tmp_path / "copy")
    without = shutil.copytree(trained, machine.store / trained.name)  # as if all weights were tuned
    (without / "adapter" / "adapter_config.json").unlink()
    found = tables.audit(copy, languages=["java"], limit=20, machine=machine)
    assert found.facts["runs"]["adapter"]["nanobench-java"] == {
        "run": trained.name,
        "made": "before",
    }
    weights = copy / "adapter_model.safetensors"
    shutil.copy(stored("lora", 2) / "adapter" / weights.name, weights)
    other = tables.audit(copy, languages=["java"], limit=20, machine=machine)
    assert other.facts["runs"]["adapter"]["nanobench-java"]["run"] == stored("lora", 2).name
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    with pytest.raises(pytest.fail.Exception, match="made again"):
        tables.audit(copy, languages=["java"], limit=20, machine=machine)


def test_a_run_that_adopted_an_adapter_has_answers_of_it(tmp_path):
    """The adapter, which lies in another run, is audited by either name."""
    trained, folder = stored("lora", 1), tmp_path / "store"
    owner = shutil.copytree(trained, folder / trained.name)
    work = shutil.copytree(trained, tmp_path / "work")
    data = {**store.read_config(trained), "variant": "asked again"}
    facts = {**store.read_provenance(trained), "adapter_from": owner.name}
    (work / "config.json").write_bytes(formats.to_json(data))
    (work / "provenance.json").write_bytes(formats.to_json(facts))
    run = store.save(folder, config.run_id(data), work)
    store.compact(owner)  # its own answers are gone
    assert not (run / "adapter").exists()
    what = subject.choose(run / "adapter", None, None)
    assert what.folder == owner / "adapter" and subject.short_name(run / "adapter") == run.name
    machine = Machine(store=folder, adapter=what.folder, progress=False)
    wanted, _ = preflight.resolve(subject.configuration(what, ["java"], 20), machine)
    [java] = wanted.benchmarks
    assert runs.find(wanted, java, [folder], machine) == run


def test_an_interrupted_audit_goes_on(tiny_base, tmp_path, monkeypatch):
    adapter = foreign(tmp_path / "adapter", tiny_base, init_lora_weights=False)
    machine = Machine(store=tmp_path / "store", work_dir=tmp_path / "work", progress=False)
    asked = {"profile": "nano", "languages": ["python"], "limit": 3, "machine": machine}
    with monkeypatch.context() as patch:
        patch.setattr(runs.pipeline, "grade", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tables.audit(adapter, **asked)
    [completions] = (tmp_path / "work").rglob("completions-*.jsonl")
    before = completions.read_bytes()
    assert before and not store.run_folders(machine.store)
    done = tables.audit(adapter, **asked)
    assert len(store.run_folders(machine.store)) == 2 and len(done.programs) == 3
    assert not completions.exists()
    [base] = [r for r in store.run_folders(machine.store) if store.read_config(r)["arm"] == "base"]
    assert store.read_provenance(base)["processes"] == 2
    elsewhere = Machine(store=tmp_path / "other", work_dir=tmp_path / "work", progress=False)
    at_once = tables.audit(adapter, **asked | {"machine": elsewhere})
    for name in ("languages", "programs", "form", "modules", "spectrum"):
        pd.testing.assert_frame_equal(getattr(done, name), getattr(at_once, name))


def test_an_adapter_on_two_bases_has_a_name_on_each():
    wanted = dataclasses.replace(config.load("nano", "base", 0), adapter_digest="a" * 64)
    names = {
        runs._only(dataclasses.replace(wanted, base_digest=b * 64), wanted.benchmarks).variant
        for b in "bc"
    }
    assert len(names) == 2


def _asked(base: Path, limit: int) -> config.RunConfig:
    """A base on the first problems in Python, as an audit asks it."""
    what = subject.Subject(base, {}, "tiny", base, "nano")
    return subject.configuration(what, ["python"], limit)


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_a_damaged_run_is_passed_over_where_another_serves(tmp_path, monkeypatch, capsys):
    base = stored("base", 0)
    machine = Machine(store=tmp_path / "store", work_dir=tmp_path / "work", progress=False)
    damaged = shutil.copytree(base, machine.store / base.name)
    asked = config.load("nano", "base", 0, overrides=["languages=python"], limit=5)
    _damage(damaged / store.completions_name("nanobench-python"))
    found = runs.answers(asked, machine)["nanobench-python"]
    assert (found.run, len(found.completions), found.made) == (base, 5, False)
    said = one_line(capsys)
    assert f"passed over: run {base.name} is corrupt" in said and str(damaged) in said
    monkeypatch.setattr(runs.paths, "RUNS", machine.store)
    monkeypatch.setattr(runs.pipeline, "run", lambda *a: pytest.fail("made again"))
    with pytest.raises(pytest.fail.Exception, match="made again"):
        runs.answers(asked, machine)


def test_of_a_damaged_run_that_nothing_replaces_it_says_what_to_do(tiny_base, tmp_path):
    machine = Machine(
        store=tmp_path / "store", work_dir=tmp_path / "work", base_model=tiny_base, progress=False
    )
    run = runs.answers(_asked(tiny_base, 2), machine)["nanobench-python"].run
    _damage(run / "verdicts-nanobench-python.csv")
    with pytest.raises(FlexError, match=f"`flexlib regrade {run.name} --store {machine.store}`"):
        runs.answers(_asked(tiny_base, 2), machine)
    _damage(run / store.completions_name("nanobench-python"))
    with pytest.raises(FlexError, match=f"{run.name} is corrupt .*; remove {run} and"):
        runs.answers(_asked(tiny_base, 2), machine)


def test_runs_of_a_store_of_audits_have_names_of_their_own(shuffled, machine):
    table = store.runs(machine.store)
    assert set(table["arm"].str.split().str[0]) <= {"base", "audited"}
    assert not table.duplicated(["profile", "arm", "seed"]).any()


# --- form ---------------------------------------------------------------------------------------


def test_a_whole_answer_that_passes_has_its_program(machine, monkeypatch):
    """The cut of the protocol may break an answer that passes as it was written."""
    [problem] = runs.preflight.benchmarks.load_benchmark("nanobench-python", limit=1)
    [settings] = config.load("nano", "base", 0, overrides=["languages=python"]).benchmarks
    settings = dataclasses.replace(settings, cut_at_fence=True)
    row = {
        "task_id": problem.task_id,
        "sample": 0,
        "completion": "    x\n```\n    y\n",
        "tokens": 1,
    }
    failed = {"task_id": problem.task_id, "sample": 0, "verdict": "wrong", "passed": False}
    answers = runs.Answers(Path("none"), False, settings, [problem], [row], [failed])

    def grade(answers, found, machine):
        return [{**failed, "passed": c["completion"] == row["completion"]} for c in found]

    monkeypatch.setattr(form, "_grade", grade)
    [judged] = form.judged(answers, machine)
    assert (judged["as_written"], judged["as_graded"], judged["alone"]) == (True, False, True)


@pytest.mark.parametrize("protocol", ["chat", "chat-published"])
def test_an_answer_in_chat_is_judged_as_it_was_graded(protocol, machine, monkeypatch):
    """What is graded of it is no part of its text, so there is no other form to judge."""
    answers = _answers(["wrong", "pass"], ["Sure.\n```python\nx = 1\n```\n", "```\ny\n```\n"])
    settings = dataclasses.replace(answers.settings, protocol=protocol)
    monkeypatch.setattr(
        form, "_grade", lambda _, found, machine: pytest.fail("graded") if found else []
    )
    judged = form.judged(dataclasses.replace(answers, settings=settings), machine)
    assert [[row[way] for way in form.WAYS] for row in judged] == [[False] * 3, [True] * 3]


def test_what_was_judged_of_form_is_kept(tmp_path, monkeypatch):
    """Until an answer, a verdict or the file is another; and never what could not be judged."""
    answers = _answers(["wrong"], ["    x = 1\n\nfoo()\n"])
    machine = Machine(store=tmp_path / "store")
    graded = []

    def grade(answers, found, machine, verdict="pass"):
        graded.extend(found)
        return [{**c, "verdict": verdict, "passed": verdict == "pass"} for c in found]

    monkeypatch.setattr(form, "_grade", lambda *a: grade(*a, verdict="harness_error"))
    assert [row["alone"] for row in form.judged(answers, machine)] == [None]
    monkeypatch.setattr(form, "_grade", grade)
    assert [row["alone"] for row in form.judged(answers, machine)] == [True] and len(graded) == 2
    assert form.judged(answers, machine) == form.judged(answers, machine) and len(graded) == 2
    other = _answers(["wrong"], ["    x = 2\n\nfoo()\n"])
    assert form.judged(other, machine) and len(graded) == 3
    for damaged in ("[", "[]", "[{}]", "{}", "null"):
        before = len(graded)
        for path in machine.store.glob(".form-*"):
            path.write_text(damaged)
        assert [row["alone"] for row in form.judged(answers, machine)] == [True]
        assert len(graded) == before + 1
    monkeypatch.setattr(form.provenance, "toolchain_version", lambda language: "Python 4")
    assert form.judged(answers, machine) and len(graded) == before + 2
    assert form.judged(answers, machine) and len(graded) == before + 2


def _answers(verdicts: list[str], texts: list[str] | None = None) -> runs.Answers:
    """Answers to the first problems in Python, with these verdicts."""
    problems = runs.preflight.benchmarks.load_benchmark("nanobench-python", limit=len(verdicts))
    [settings] = config.load("nano", "base", 0, overrides=["languages=python"]).benchmarks
    places = [{"task_id": p.task_id, "sample": 0} for p in problems]
    texts = texts or [f"    return {i}\n" for i in range(len(problems))]
    completions = [{**p, "completion": t} for p, t in zip(places, texts, strict=True)]
    judged = [
        {**p, "verdict": v, "detail": "", "passed": v == "pass"}
        for p, v in zip(places, verdicts, strict=True)
    ]
    return runs.Answers(Path("store/run"), False, settings, problems, completions, judged)


def test_a_harness_error_is_no_failure_in_any_table(tmp_path, monkeypatch):
    """One problem of either arm is left out of rates and of form alike; and one that fails only now."""
    machine = Machine(store=tmp_path)
    base = ["pass"] * 24 + ["wrong"] * 16
    adapter = ["wrong"] * 8 + ["pass"] * 32
    adapter[39] = "harness_error"
    both = {
        arm: {"nanobench-python": _answers(verdicts)}
        for arm, verdicts in (("base", base), ("adapter", adapter))
    }
    judged = {
        arm: {n: pd.DataFrame(form.judged(a, machine)) for n, a in of.items()}
        for arm, of in both.items()
    }
    programs = changes.programs(both)
    [row] = changes.by_benchmark(programs, 0.05, alpha=0.05).to_dict("records")
    [of_form] = changes.by_form(both, judged).to_dict("records")
    assert (row["problems"], row["fixed"], row["broken"]) == (39, 15, 8)
    assert (row["base"], row["adapter"]) == (24 / 39, 31 / 39)
    assert (of_form["base_as_graded"], of_form["adapter_as_graded"]) == (24 / 39, 31 / 39)
    assert of_form["change"] == pytest.approx(7 / 39) and of_form["change_of_form"] == 0
    judged["base"]["nanobench-python"]["alone"] = None
    with pytest.raises(FlexError, match="40 of 40 problems could not be graded by their form"):
        changes.by_form(both, judged)


def test_too_many_harness_errors_name_the_run_and_its_store():
    answers = _answers(["harness_error"] * 5 + ["pass"] * 5)
    both = {arm: {"nanobench-python": answers} for arm in changes.ARMS}
    with pytest.raises(FlexError, match=r"5 of 10 .*`flexlib regrade run --store store`"):
        changes.programs(both)


@pytest.mark.parametrize(
    ("fixed", "broken", "word", "lost"),
    [
        (20, 4, "gained", False),
        (4, 20, "lost", None),
        (2, 50, "lost", True),
        (0, 1, "no change larger than x", False),
        (12, 9, "cannot tell", False),
        (9, 12, "cannot tell", None),
    ],
)
def test_the_four_words(fixed, broken, word, lost):
    """Of 200 problems, by the interval of their counts."""
    same = ["pass"] * (200 - fixed - broken)
    base = ["wrong"] * fixed + ["pass"] * broken + same
    adapter = ["pass"] * fixed + ["wrong"] * broken + same
    both = {
        "base": {"nanobench-python": _answers(base)},
        "adapter": {"nanobench-python": _answers(adapter)},
    }
    [row] = changes.by_benchmark(changes.programs(both), 0.05, alpha=0.05).to_dict("records")
    assert (row["word"], row["fixed"], row["broken"]) == (word, fixed, broken)
    assert row["difference"] == (fixed - broken) / 200
    effect = paired.TwoRuns(fixed, broken, 200)
    assert (row["low"], row["high"]) == (effect.bound(0.025, 1), effect.bound(0.025, -1))
    found = row["lost_more_than_margin"]
    assert (None if pd.isna(found) else found) is lost


def test_nulls_of_several_modules_have_the_spread_of_their_mean():
    delta = pd.DataFrame({
        "quantity": "row_share", "x": 0.5, "value": [0.1, 0.2, 0.3, 0.4], "permuted_mean": 0.25,
        "permuted_sd": 0.2, "random_mean": 9.0, "random_sd": 9.0,
    })  # fmt: skip
    [row] = weights._spectrum(delta).to_dict("records")
    assert (row["value"], row["null"], row["null_sd"]) == pytest.approx((0.25, 0.25, 0.1))


def test_weights_by_projection_are_those_of_their_modules(shuffled):
    for row in weights.by_projection(shuffled.modules).to_dict("records"):
        own = shuffled.modules[shuffled.modules["projection"] == row["projection"]]
        assert row["modules"] == len(own) and row["intruders"] == own["intruders"].sum()
        assert row["norm"] == pytest.approx(np.linalg.norm(own["norm"]))
        assert row["effective_rank"] == pytest.approx(own["effective_rank"].mean())


def test_form_and_program_are_told_apart(machine):
    """A base whose answers are right, and an adapter that adds a fence to some and spoils others."""
    problems = runs.preflight.benchmarks.load_benchmark("nanobench-python", limit=4)
    from flexlib.config import load
    from flexlib.grading.completions import grade_completions
    from flexlib.nanobench.benchmark import load_split

    [settings] = load("nano", "base", 0, overrides=["languages=python"]).benchmarks
    right = {r["task_id"]: r["reference_python"] for r in load_split("test")[:4]}
    texts = [right[p.task_id] for p in problems]
    spoilt = [texts[0], texts[1] + "\n```\nIt returns.", "    return None\n", texts[3]]

    def answers(texts: list[str]) -> runs.Answers:
        rows = [
            {"task_id": p.task_id, "sample": 0, "completion": t, "tokens": 1, "truncated": False}
            for p, t in zip(problems, texts, strict=True)
        ]
        verdicts = grade_completions(problems, rows, settings, progress=False)
        return runs.Answers(Path("none"), False, settings, problems, rows, verdicts)

    both = {
        arm: {"nanobench-python": answers(of)} for arm, of in (("base", texts), ("adapter", spoilt))
    }
    judged = {
        arm: {n: pd.DataFrame(form.judged(a, machine)) for n, a in of.items()}
        for arm, of in both.items()
    }
    [row] = changes.by_form(both, judged).to_dict("records")
    assert (row["change"], row["change_of_form"], row["change_of_program"]) == (-0.5, -0.25, -0.25)


@pytest.mark.parametrize("written", ["python", "java", "javascript", "cpp"])
def test_references_are_in_their_own_language(written):
    from flexlib.nanobench.benchmark import load_split

    texts = [record[f"reference_{written}"] for record in load_split("test")[:200]]
    assert not any(form.reads_as_another(text, written) for text in texts)
    others = [o for o in ("python", "java") if o != written]
    for other in others:
        if "python" in (written, other):
            assert sum(form.reads_as_another(text, other) for text in texts) > 195


@pytest.mark.parametrize("name", sorted(set(LANGUAGES) - {"python", *form.MARKS}))
def test_of_languages_whose_look_is_not_known_nothing_is_guessed(name):
    _, completion, _ = LANGUAGES[name].probe
    assert form.reads_as_another(completion, name) is None
    assert form.reads_as_another("    return [x for x in xs]\n", name) is None


def test_a_share_that_cannot_be_told_is_missing():
    answers = _answers(["compile_error", "pass"])
    problems = [dataclasses.replace(p, language="lua") for p in answers.problems]
    answers = dataclasses.replace(answers, problems=problems)
    programs = changes.programs({arm: {"multipl-e-lua": answers} for arm in changes.ARMS})
    found = changes.by_benchmark(programs, 0.05, alpha=0.05)
    assert found["base_another_language"].isna().all() and found["base_not_compiling"][0] == 0.5


def test_another_language_in_one_with_braces():
    java = "        ArrayList<Long> found = new ArrayList<>();\n        for (Long x : xs) {\n"
    assert form.reads_as_another(java, "javascript") and form.reads_as_another(java, "cpp")
    assert not form.reads_as_another(java, "java")


@pytest.mark.parametrize("language", sorted(form.MARKS))
def test_one_line_without_its_semicolon_is_no_other_language(language):
    for line in ("    return x + k\n", "        return xs.size()\n", "    x = f(y)"):
        assert not form.reads_as_another(line, language)
    for line in ("    return [x for x in xs]\n", "    return None\n", "    if len(xs) > k:"):
        assert form.reads_as_another(line, language)
    assert form.reads_as_another("    x = f(y)\n    return x\n", language)


# --- GPT-2, whose modules store their weights transposed -------------------------------------------


def test_a_gpt2_is_audited_by_the_weights_that_merging_gives(machine, tiny_base, tmp_path):
    import torch

    base = tiny.make_gpt2(tmp_path / "gpt2", tiny_base)
    torch.manual_seed(0)
    adapter = foreign(
        tmp_path / "adapter", base, init_lora_weights=False, target_modules=["c_attn", "c_proj"],
        fan_in_fan_out=True,
    )  # fmt: skip
    found = tables.audit(
        adapter, profile="nano", languages=["python"], limit=2, merged=True, machine=machine
    )
    assert found.facts["logits"]["max_logit_difference"] < 1e-3
    plain = models.load_model(base, "fp32", "cpu")
    merged = adapters.load(models.load_model(base, "fp32", "cpu"), adapter, merge=True)
    assert len(found.modules) == 6
    for row in found.modules.to_dict("records"):
        before, after = (
            m.get_submodule(row["module"]).weight.detach().double().T for m in (plain, merged)
        )
        singular = torch.linalg.svdvals(after - before)
        assert row["norm"] == pytest.approx(float(singular.norm()), rel=1e-3)
        shares = singular[:4] / singular[:4].sum()
        entropy = -(shares * shares.log()).sum()
        assert row["effective_rank"] == pytest.approx(float(entropy.exp()), rel=1e-3)
        assert row["relative_norm"] == pytest.approx(float(singular.norm() / before.norm()), 1e-3)
        alike = (torch.linalg.svd(before).U.T @ torch.linalg.svd(after).U[:, :10]).abs()
        own = alike[: min(before.shape)].amax(0)
        assert (row["directions"], row["intruders"]) == (10, int((own < 0.5).sum()))
    assert found.modules["intruders"].sum() > 0


# --- bad input ----------------------------------------------------------------------------------


def one_line(capsys) -> str:
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.startswith("flexlib: ")
    return said


@pytest.fixture
def nano_adapter() -> Path:
    return stored("lora", 1) / "adapter"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "no adapter folder"),
        (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "adapter_config.json is damaged"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
        (lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"), "with PEFT"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"cut short"), "is damaged"),
        (lambda f: edit(f, peft_type="FUTURE"), "does not load on this base"),
        (lambda f: edit(f, target_modules=["qkv"]), "does not load on this base"),
        (lambda f: edit(f, r=16), "does not go on this base"),
        (lambda f: edit(f, base_model_name_or_path=None), "--base-model"),
        (lambda f: edit(f, base_model_name_or_path="/gone/base"), "--base-model"),
    ],
)
def test_no_adapter_there_or_one_that_does_not_load(
    machine, nano_adapter, tmp_path, capsys, spoil, said
):
    folder = tmp_path / "adapter"
    shutil.copytree(nano_adapter, folder)
    spoil(folder)
    out = tmp_path / "out"
    given = arguments(machine, folder, "--languages", "python", "--limit", "2", "--out", out)
    assert cli.main(given) == 2
    assert said in one_line(capsys) and not out.exists()


def edit(folder: Path, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_bases_shapes(machine, nano_adapter, tiny_base, tmp_path, capsys):
    given = ["--base-model", tiny_base, "--languages", "python", "--out", tmp_path / "out"]
    assert cli.main(arguments(machine, nano_adapter, *given)) == 2
    assert "does not go on this base" in one_line(capsys)


def test_a_missing_toolchain_is_left_out_and_named(machine, nano_adapter, monkeypatch):
    def check(language: str, **options) -> Check:
        return Check(language, language == "python", "javac is not installed", "apt install it")

    monkeypatch.setattr(subject.doctor, "check_language", check)
    able, left_out = subject.gradable("nano", None, machine)
    assert able == ["python"] and "javac is not installed" in left_out["java"]
    with pytest.raises(FlexError, match=r"java cannot be graded here: javac is not installed"):
        subject.gradable("nano", ["python", "java"], machine)
    monkeypatch.setattr(
        subject.doctor, "check_language", lambda name, **_: Check(name, False, "gone", "get it")
    )
    with pytest.raises(FlexError, match=r"no language is left.*java: gone"):
        subject.gradable("nano", None, machine)


def test_a_crash_is_no_established_loss(machine, nano_adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "audit", lambda *a, **k: 1 / 0)
    given = arguments(machine, nano_adapter, "--out", tmp_path / "out", "--fail-if-lost", "5")
    assert cli.main(given) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_report_folder_below_a_file_is_refused_before_anything_is_asked(
    machine, nano_adapter, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tables, "audit", lambda *a, **k: pytest.fail("asked"))
    (tmp_path / "file").write_text("mine")
    given = arguments(machine, nano_adapter, "--out", tmp_path / "file" / "out")
    assert cli.main(given) == 2 and "no report can be written" in one_line(capsys)


def test_only_what_samples_is_asked_more_than_once():
    """Profile paper has a greedy benchmark beside one that samples."""
    what = subject.Subject(paths.NANO_BASE, {}, "b", None, "paper")
    asked = subject.configuration(what, ["python", "java"], None, samples=3).benchmarks
    assert {b.samples for b in asked if b.temperature > 0} == {3}
    assert {b.samples for b in asked if b.temperature == 0} == {1}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--languages", "cobol"], "unknown language 'cobol'"),
        (["--languages", "python", "--limit", "5", "--minutes", "3"], "leave out --limit"),
        (["--profile", "huge"], "unknown profile"),
        (["--fail-if-lost", "100"], "margin"),
    ],
)
def test_options_that_do_not_go(machine, nano_adapter, tmp_path, capsys, more, said):
    assert cli.main(arguments(machine, nano_adapter, "--out", tmp_path / "out", *more)) == 2
    assert said in one_line(capsys)


OPTIONS_THAT_ARE_NOTHING = [
    *(["--limit", "0"], ["--minutes", "-1"], ["--languages", ","]),
    *([option, value] for option in ("--minutes", "--fail-if-lost") for value in ("inf", "nan")),
]


@pytest.mark.parametrize("minutes", [math.inf, math.nan, 0.0])
def test_a_time_without_end_is_no_plan(machine, minutes):
    with pytest.raises(FlexError, match="finite number above 0"):
        tables.audit("nowhere", minutes=minutes, machine=machine)


@pytest.mark.parametrize("more", OPTIONS_THAT_ARE_NOTHING)
def test_options_that_are_nothing(machine, nano_adapter, capsys, more):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments(machine, nano_adapter, *more))
    assert ended.value.code == 2
    one_line(capsys)


def test_no_problem_left():
    with pytest.raises(FlexError, match="no problem is left"):
        changes.by_benchmark(pd.DataFrame(), 0.05, alpha=0.05)


def test_a_report_folder_that_exists_stays(machine, nano_adapter, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    assert cli.main(arguments(machine, nano_adapter, "--out", tmp_path / "out")) == 2
    assert "is there already" in one_line(capsys)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_adapter_that_cannot_be_merged(machine, tiny_base, tmp_path, capsys):
    import peft

    model = models.load_model(tiny_base, "fp32", "cpu")
    prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    peft.get_peft_model(model, prompt).save_pretrained(tmp_path / "prompt")
    given = ["--profile", "nano", "--languages", "python", "--limit", "2", "--merged"]
    assert cli.main(arguments(machine, tmp_path / "prompt", *given, "--out", tmp_path / "o")) == 2
    assert "cannot be merged" in one_line(capsys)


def test_an_adapter_without_factors_is_audited_but_for_its_weights(machine, tiny_base, tmp_path):
    import peft

    model = models.load_model(tiny_base, "fp32", "cpu")
    prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    peft.get_peft_model(model, prompt).save_pretrained(tmp_path / "prompt")
    found = tables.audit(
        tmp_path / "prompt", profile="nano", languages=["python"], limit=2, machine=machine
    )
    assert found.modules.empty and "no LoRA" in found.facts["weights"]
    assert "Not defined" in report.to_html(found)


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "points", "status", "said"),
    [
        ("shuffled", 5, 1, "established"),
        ("shuffled", 35, 2, "cannot be told"),
        ("lora", 35, 0, "excluded"),
    ],
)
def test_exit_status_with_fail_if_lost(
    machine, shuffled, tmp_path, capsys, arm, points, status, said
):
    adapter = stored(arm, 1) / "adapter"
    given = ["--languages", "python", "--limit", "30", "--fail-if-lost", points]
    assert cli.main(arguments(machine, adapter, *given, "--out", tmp_path / "out")) == status
    out = capsys.readouterr().out
    assert f"a loss of more than {points} points: {said}" in out
    assert "python" in out and (tmp_path / "out" / "audit.html").is_file()
    data = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert data["languages"][0]["problems"] == 30 and len(data["programs"]) == 30


def test_merged_and_unmerged(machine, tmp_path):
    adapter = stored("lora", 1) / "adapter"
    found = tables.audit(adapter, languages=["python"], limit=4, merged=True, machine=machine)
    [row] = found.merged.to_dict("records")
    assert (row["problems"], row["difference"], row["fixed"], row["broken"]) == (4, 0, 0, 0)
    assert row["base"] == row["adapter"] == found.languages["adapter"][0]
    [merged_run] = [
        r for r in store.run_folders(machine.store)
        if "merged limit=4" in (store.read_config(r).get("variant") or "")
    ]  # fmt: skip
    assert store.read_config(merged_run)["benchmarks"]["nanobench-python"]["merge_adapter"]
    logits = found.facts["logits"]
    assert 0 < logits["max_logit_difference"] < 1e-3 and logits["precision"] == "fp32"
    assert logits["prompts"] == 4
    assert "Merged into the weights" in report.to_html(found)


def test_flexlib_is_light_to_import():
    code = "import flexlib, sys; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    assert flexlib.audit is tables.audit


def test_the_digest_names_the_run(machine, shuffled):
    [run] = [
        r for r in store.run_folders(machine.store)
        if store.read_config(r).get("adapter_digest") == shuffled.facts["adapter_sha256"]
    ]  # fmt: skip
    assert adapters.digest(run / "adapter") == shuffled.facts["adapter_sha256"]
