"""Plans: problems first, then samples, never more than fit, and the same one the next time."""

from __future__ import annotations

import pytest
import tiny

from flexlib.auditing import plan, tables
from flexlib.errors import FlexError
from flexlib.models import load_model
from flexlib.runs import store
from flexlib.runs.machine import Machine


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (2, (25, 1)),
        (5.1, (70, 1)),  # 71 would fit: whole tens from 30 on
        (30, (164, 2)),
        (600, (164, 10)),
    ],
)
def test_what_fits(minutes, expected):
    found = plan.fit(minutes, spent=20, seconds=2, models=2, problems=164, samples=10)
    assert (found.limit, found.samples) == expected
    assert 20 + found.limit * found.samples * 2 * 2 <= 60 * minutes


def test_greedy_decoding_has_one_sample():
    assert plan.fit(600, 0, 1, 2, 164, samples=1).samples == 1


def test_too_little_time_says_how_much_would_do():
    with pytest.raises(FlexError, match="--minutes 2 would be") as told:
        plan.fit(0.5, spent=20, seconds=2, models=2, problems=164, samples=1)
    assert "\n" not in str(told.value)
    found = plan.fit(2, spent=20, seconds=2, models=2, problems=164, samples=1)
    assert found.limit >= plan.PROBE


def test_a_plan_is_kept(tmp_path):
    path, none = plan.kept(tmp_path, ["base", 3])
    assert none is None
    made = plan.Plan(70, 1, 0.5)
    plan.keep(path, made)
    assert plan.kept(tmp_path, ["base", 3]) == (path, made)
    assert plan.kept(tmp_path, ["base", 4])[1] is None
    for damaged in ("", '{"limit": 70', "[]", "null", '{"limit": 70}'):
        path.write_text(damaged)
        assert plan.kept(tmp_path, ["base", 3]) == (path, None)


def test_a_plan_is_of_a_speed_that_was_measured_from_beginning_to_end(tmp_path, monkeypatch):
    """A killed process leaves answers, and a clock without its seconds."""
    import peft

    base = tiny.make_base(tmp_path / "base")
    machine = Machine(store=tmp_path / "store", work_dir=tmp_path / "work", progress=False)
    model = peft.get_peft_model(load_model(base, "fp32", "cpu"), peft.LoraConfig())
    model.save_pretrained(tmp_path / "adapter")
    asked = {"profile": "nano", "languages": ["python"], "minutes": 600, "machine": machine}
    monkeypatch.setattr(plan, "PROBE", 2)
    monkeypatch.setattr(
        plan, "fit", lambda minutes, spent, seconds, *rest: plan.Plan(2, 1, seconds)
    )
    with monkeypatch.context() as patch:
        patch.setattr(
            tables.runs.pipeline, "grade", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            tables.audit(tmp_path / "adapter", **asked)
    [clock] = machine.work_dir.rglob("clock.json")
    clock.write_text('{"processes": 1, "seconds": {}}')
    assert list(machine.work_dir.rglob("completions-*.jsonl"))
    found = tables.audit(tmp_path / "adapter", **asked)
    probe = machine.store / found.facts["runs"]["adapter"]["nanobench-python"]["run"]
    assert store.read_provenance(probe)["processes"] == 1


def test_a_plan_says_what_it_can_see():
    said = plan.describe(plan.Plan(164, 2, 1.0), 30, benchmarks=2, alpha=0.05)
    assert said == (
        "164 problems of each benchmark, 2 times each fit 30 minutes: a change of 11 points could be seen "
        "where the verdicts of one problem in 5 differ"
    )


def test_an_audit_by_time_asks_the_next_adapter_the_same_problems(tmp_path):
    import peft
    import torch

    base = tiny.make_base(tmp_path / "base")
    machine = Machine(store=tmp_path / "store", work_dir=tmp_path / "work", progress=False)
    asked = {"profile": "nano", "languages": ["python"], "minutes": 600, "machine": machine}
    problems, programs = [], []
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = load_model(base, "fp32", "cpu")
        config = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
        peft.get_peft_model(model, config).save_pretrained(tmp_path / name)
        with pytest.MonkeyPatch.context() as patch:
            # As slow as it takes: the tiny model would answer all 500.
            patch.setattr(tables, "_seconds", lambda few: 4000.0)
            patch.setattr(plan, "PROBE", 2)
            found = tables.audit(tmp_path / name, **asked)
        problems.append(list(found.programs["task_id"]))
        programs.append(list(found.programs["adapter_program"]))
    assert programs[0] != programs[1]  # two adapters indeed
    assert problems[0] == problems[1] and len(problems[0]) == 4
    assert (
        found.facts["plan"]
        == "4 problems of each benchmark fit 600 minutes: too few to see any change"
    )
    assert found.languages["detectable"].isna().all()
    assert len(list(machine.store.glob(".plan-*.json"))) == 1
