"""What can fail early fails before anything is trained, smallest first."""

from __future__ import annotations

import contextlib

import pytest
import tiny

from flexlib import config
from flexlib.errors import FlexError
from flexlib.runs import pipeline, preflight
from flexlib.runs.grid import grid
from flexlib.runs.machine import Machine
from flexlib.study import tuning


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def python_is_here(monkeypatch):
    """The grader is not asked: this is about what comes beside it."""
    found = preflight.doctor.Check("grade python", True, "here")
    monkeypatch.setattr("flexlib.runs.doctor.check_language", lambda *_, **__: found)


def load(*overrides: str, arm: str = "lora", seed: int = 1) -> config.RunConfig:
    return config.load("nano", arm, seed, overrides=["languages=python", *overrides], limit=2)


def resolve(wanted: config.RunConfig, base):
    return preflight.resolve(wanted, Machine(base_model=base, progress=False))


def test_the_training_set_is_what_the_section_data_makes_of_it(base):
    plain, inputs = resolve(load(), base)
    assert len(inputs.records["train"]) == 374
    small, few = resolve(load("data.size=40"), base)
    assert len(few.records["train"]) == 40 and len(few.records["validation"]) == 90
    assert resolve(load("data.size=40", seed=2), base)[1].records != few.records
    same = ["data.size=40", "data.subset_seed=7"]
    first, second = (resolve(load(*same, seed=seed), base)[1].records for seed in (1, 2))
    assert first == second
    dirty, swapped = resolve(load("data.transform=shuffled", "data.share=0.25"), base)
    changed = [
        a["code"] != b["code"]
        for a, b in zip(swapped.records["train"], inputs.records["train"], strict=True)
    ]
    assert 80 < sum(changed) <= 94  # a quarter of 374; a shuffled answer may be the same text
    assert len({c.training.digest for c in (plain, small, dirty)}) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.transform=reversed"], "unknown data.transform 'reversed'; there are shuffled"),
        (["data.size=1000"], "data.size is 1000 and the training set has 374 records"),
        (["adapter.target_modules=query"], "no module 'query' to adapt"),
        (["adapter.kind=oft", "adapter.block_size=7"], "'oft' does not go on this model"),
    ],
)
def test_what_the_configuration_names_and_is_not_there_is_refused(base, overrides, message):
    arm = "adamw" if "adapter.kind=oft" in overrides else "lora"
    with pytest.raises(FlexError, match=message):
        resolve(load(*overrides, arm=arm), base)


@pytest.mark.parametrize("arm", ["dora", "full"])
def test_muon_is_for_matrices(base, arm):
    with pytest.raises(FlexError, match=f"kind '{arm}' also trains .* of 1 dimensions"):
        resolve(load("training.optimizer=muon", arm=arm), base)
    resolve(load("training.optimizer=muon", arm="lora"), base)


def test_a_grid_refuses_the_last_of_its_arms_before_it_trains_the_first(
    base, tmp_path, monkeypatch
):
    monkeypatch.setattr("flexlib.runs.grid.run", lambda *_: pytest.fail("a run was made"))
    wanted = [load("training.optimizer=muon", arm=arm) for arm in ("lora", "dora")]
    with pytest.raises(FlexError, match="Muon orthogonalises matrices"):
        list(grid(wanted, Machine(base_model=base, store=tmp_path, work_dir=tmp_path)))


@pytest.mark.parametrize(
    ("arm", "overrides", "message"),
    [
        ("l2-norm", ["regularizer.strength=0"], "find it with `flexlib calibrate`"),
        ("full", [], "flexlib tune --arm full"),
    ],
)
@pytest.mark.usefixtures("untuned")
def test_a_grid_checks_every_label_before_it_trains_the_first(
    base, tmp_path, monkeypatch, arm, overrides, message
):
    place = Machine(base_model=base, store=tmp_path, work_dir=tmp_path, progress=False)
    monkeypatch.setattr("flexlib.runs.grid.run", lambda *_: pytest.fail("a run was made"))
    with pytest.raises(FlexError, match=message):
        list(grid([load(), load(seed=2), load(*overrides, arm=arm)], place))


def test_a_grid_of_stored_runs_needs_no_tools(base, tmp_path, monkeypatch):
    """They are found, as `run` finds them; one that is missing needs what a run needs."""
    stored = {}
    monkeypatch.setattr("flexlib.runs.grid.run", lambda config, *_: tmp_path)
    monkeypatch.setattr("flexlib.runs.store.has", lambda _, run_id: run_id in stored)
    missing = preflight.doctor.Check("grade python", False, "no python", "apt install it")
    monkeypatch.setattr("flexlib.runs.doctor.check_language", lambda *_, **__: missing)
    place = Machine(base_model=base, store=tmp_path, work_dir=tmp_path, progress=False)
    wanted = [load(), load(seed=2)]
    for config_ in wanted:
        with pytest.raises(FlexError, match="cannot grade python here: no python"):
            list(grid(wanted, place))
        stored[config.run_id(config.to_dict(resolve(config_, base)[0]))] = True
    assert len(list(grid(wanted, place))) == 2


@pytest.mark.parametrize(("device", "kept"), [("cpu", True), ("cuda", False)])
def test_a_grid_keeps_its_base_where_an_analysis_has_room_beside_it(monkeypatch, device, kept):
    seen = []
    monkeypatch.setattr("flexlib.models.pick_device", lambda asked=None: device)
    monkeypatch.setattr("flexlib.runs.grid._check", lambda *_: None)
    monkeypatch.setattr("flexlib.runs.grid.run", lambda config, machine, bases: seen.append(bases))
    list(grid([load(), load(seed=2)], Machine()))
    assert [bases is not None for bases in seen] == [kept, kept] and seen[0] is seen[1]


@pytest.mark.parametrize(("has_bf16", "told"), [(True, 0), (False, 1)])
def test_a_cpu_without_bf16_is_told_once_a_process(base, monkeypatch, capsys, has_bf16, told):
    monkeypatch.setattr("flexlib.models.speed.multiplies_bf16", lambda: has_bf16)
    monkeypatch.setattr("flexlib.models.speed.matmul_rate", {"bf16": 50e9, "fp32": 200e9}.get)
    monkeypatch.setattr(preflight, "_WORTH_A_WARNING", 0)
    preflight._warn_of_bf16.cache_clear()
    for seed in (1, 2):
        preflight.resolve(load("training.precision=bf16", seed=seed), Machine(base_model=base))
    assert capsys.readouterr().err.count("computes in fp32 (200 GFLOP/s)") == told
    preflight._warn_of_bf16.cache_clear()


def test_an_arm_that_trains_takes_no_adapter_from_elsewhere(base, tmp_path):
    place = Machine(base_model=base, adapter=tmp_path / "adapter", progress=False)
    with pytest.raises(FlexError, match=r"arm .lora. trains an adapter of its own"):
        preflight.resolve(load(), place)


@pytest.mark.parametrize(
    ("overrides", "machine", "message"),
    [
        ([], {"microbatch": 3}, "--microbatch 3 does not divide training.batch_size 4"),
        (["regularizer.form=factor", "regularizer.threshold=2"], {}, "regularizer.threshold must"),
        (["decoding.num_beams=1"], {}, "num_beams is 2 or more"),
        (["decoding.protocol=chat"], {}, "no chat template"),
    ],
)
def test_settings_that_would_stop_the_run_later_are_refused(base, overrides, machine, message):
    place = Machine(base_model=base, progress=False, **machine)
    resolved, inputs = preflight.resolve(load(*overrides), place)
    with pytest.raises(FlexError, match=message):
        preflight.check(resolved, inputs, place)


def test_an_arm_that_is_to_be_tuned_first_is_refused(base, untuned):
    place = Machine(base_model=base, progress=False)
    for arm in untuned:
        for overrides in ([], ["training.epochs=1"]):
            resolved, inputs = preflight.resolve(load(*overrides, arm=arm), place)
            with pytest.raises(FlexError, match=f"flexlib tune --arm {arm} --profile nano`"):
                preflight.check(resolved, inputs, place)


@pytest.mark.usefixtures("untuned")
def test_an_arm_at_a_value_that_was_chosen_is_not_refused(base):
    place = Machine(base_model=base, progress=False)
    default = config.load("nano", "full", 1).training.learning_rate
    for wanted in (
        load(f"training.learning_rate={default}", arm="full"),  # on the command line
        load(arm="sophia"),  # in the profile
        load(),  # of an arm that has one of its own from the start
        tuning.trials("full")[0][1],  # by the plan of its trials
    ):
        preflight.check(*preflight.resolve(wanted, place), place)


def test_a_penalty_is_refused_where_the_factors_are_sharded(base, monkeypatch):
    """FSDP puts other parameters in their place, and the penalty would be of none of them."""
    place = Machine(base_model=base, progress=False)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    plain, inputs = preflight.resolve(load(), place)
    preflight.check(plain, inputs, place)
    penalised, inputs = preflight.resolve(load(arm="fourier-released"), place)
    with pytest.raises(FlexError, match=r"arm .fourier-released. has a penalty, which FSDP"):
        preflight.check(penalised, inputs, place)


@pytest.mark.parametrize("sharded", ["true", "false"])
def test_a_model_that_was_sharded_is_not_lent_again(base, tmp_path, monkeypatch, sharded):
    wanted, inputs = resolve(load(), base)
    seen = []

    class Bases:
        @contextlib.contextmanager
        def lend(self, *_, spoils, **__):
            seen.append(spoils)
            yield

    monkeypatch.setenv("ACCELERATE_USE_FSDP", sharded)
    monkeypatch.setattr("flexlib.training.trainer.train", lambda *_, **__: None)
    pipeline.train(pipeline.Job(wanted, inputs, Machine(), tmp_path, Bases()))
    assert seen == [sharded == "true"]


def test_a_language_without_its_tools_is_told_before_the_training(base, monkeypatch):
    wanted, inputs = resolve(load(), base)
    place = Machine(base_model=base)
    preflight.check(wanted, inputs, place)
    missing = preflight.doctor.Check("grade python", False, "no python", "apt install it")
    monkeypatch.setattr("flexlib.runs.doctor.check_language", lambda *_, **__: missing)
    with pytest.raises(FlexError, match="cannot grade python here: no python; apt install it"):
        preflight.check(wanted, inputs, place)
