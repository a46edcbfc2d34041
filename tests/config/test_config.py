"""Configurations: what the profiles say, what is refused, and what makes a run's name."""

from __future__ import annotations

import dataclasses

import pytest

from flexlib import config
from flexlib.config import layers
from flexlib.errors import FlexError


def load(*overrides: str, profile="nano", arm="lora", seed=1, **kwargs) -> config.RunConfig:
    return config.load(profile, arm, seed, overrides=overrides, **kwargs)


def run_id(wanted: config.RunConfig) -> str:
    return config.run_id(config.to_dict(wanted))


@pytest.mark.parametrize("profile", config.profiles())
@pytest.mark.parametrize("arm", config.arms())
def test_every_profile_goes_with_every_arm(profile, arm):
    wanted = load(profile=profile, arm=arm)
    assert {b.language for b in wanted.benchmarks} == {"python", "java"}


def test_the_released_protocol_is_the_default():
    training, adapter = load(profile="paper").training, load(profile="paper").adapter
    assert (training.epochs, training.batch_size, training.max_length) == (3.0, 4, 512)
    assert (training.learning_rate, training.loss_on) == (2e-4, "all")
    assert training.learning_rate * training.final_lr_fraction == pytest.approx(1e-5)
    assert (training.weight_decay, training.betas) == (0.01, (0.9, 0.999))
    assert (training.max_grad_norm, training.warmup_steps) == (1.0, 0)
    assert (adapter.rank, adapter.alpha, adapter.dropout) == (8, 16.0, 0.05)
    assert adapter.target_modules == ("q_proj", "v_proj")
    java = next(b for b in load(profile="paper").benchmarks if b.language == "java")
    assert (java.samples, java.temperature, java.top_p, java.max_new_tokens) == (10, 0.2, 0.95, 512)


def test_pins_of_the_profiles_base_go_with_that_base():
    small = load(profile="small", arm="base")
    assert small.base_revision and small.base_file and small.base_sha256
    for profile in ("small", "paper"):
        other = load("base_model=some/model", profile=profile, arm="base")
        assert (other.base_revision, other.base_file, other.base_sha256) == (None, None, None)
    pinned = load("base_model=some/model", "base_revision=abc", profile="small", arm="base")
    assert (pinned.base_revision, pinned.base_file) == ("abc", None)
    same = load(f"base_model={small.base_model}", profile="small", arm="base")
    assert same == small


def test_where_the_base_comes_from_is_no_part_of_a_run():
    small = load(profile="small", arm="base")
    named = dataclasses.replace(small, base_file=None, base_sha256=None)
    assert run_id(small) == run_id(named)


def test_overrides_win_and_keep_their_types():
    wanted = load(
        "training.epochs=1",
        "adapter.target_modules=q_proj,k_proj",
        "training.betas=0.9,0.95",
        "decoding.temperature=1",
        "benchmarks.nanobench-java.samples=5",
        "languages=java",
    )
    assert wanted.training.epochs == 1.0 and isinstance(wanted.training.epochs, float)
    assert wanted.adapter.target_modules == ("q_proj", "k_proj")
    assert wanted.training.betas == (0.9, 0.95)
    [java] = wanted.benchmarks
    assert (java.language, java.temperature, java.samples) == ("java", 1.0, 5)


def test_a_profile_may_have_values_of_its_own_for_an_arm(monkeypatch):
    read = layers._read
    tables = {"nano": {"arms": {"adamw": {"training": {"learning_rate": 0.5}}}}}
    monkeypatch.setattr(layers, "_read", lambda kind, name: read(kind, name) | tables.get(name, {}))
    assert load(arm="adamw").training.learning_rate == 0.5
    assert load(arm="adamw").variant is None
    assert load("training.learning_rate=0.1", arm="adamw").training.learning_rate == 0.1
    assert load(arm="lora").training.learning_rate != 0.5
    assert load(arm="adamw", profile="paper").training.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"profile": "micro"}, "unknown profile 'micro'; the profiles are nano, paper"),
        ({"arm": "lorax"}, "unknown arm 'lorax'; the arms are .*base, .*lora"),
        ({"overrides": ["rank=4"]}, "unknown parameter 'rank'; the parameters are .*adapter.rank"),
        (
            {"overrides": ["adapter.ranks=4"]},
            "unknown parameter 'adapter.ranks'; adapter has .*rank",
        ),
        ({"overrides": ["adapter.rank.x=4"]}, "'rank' is a single parameter|must be an integer"),
        ({"overrides": ["adapter=4"]}, "'adapter' is a section"),
        ({"arm": "base", "overrides": ["adapter=4"]}, "'adapter' is a section"),
        ({"overrides": ["training.digest=x"]}, "unknown parameter 'training.digest'"),
        ({"overrides": ["languages=python,cobol"]}, "unknown language 'cobol'.*java.*python"),
        ({"overrides": ["benchmarks.mbpp.samples=2"]}, "unknown benchmark 'mbpp'.*nanobench-java"),
        ({"overrides": ["adapter.rank=eight"]}, "'adapter.rank' must be an integer, not 'eight'"),
        ({"overrides": ["adapter.rank=8.5"]}, "'adapter.rank' must be an integer, not 8.5"),
        ({"overrides": ["training.epochs=true"]}, "'training.epochs' must be a number, not True"),
        ({"overrides": ["training.loss_on=none"]}, "is one of all, completion, not 'none'"),
        ({"overrides": ["training.betas=0.9"]}, "must be a list such as 0.9,0.999, not 0.9"),
        ({"overrides": ["training.betas=a,b"]}, "must be a number, not 'a'"),
        ({"overrides": ["training.epochs"]}, "--set takes key=value, not 'training.epochs'"),
        ({"overrides": ["base_model=/home/me/llama"]}, "give the folder by --base-model"),
        ({"overrides": ["training.epochs=0"]}, "'training.epochs' must be greater than 0, not 0"),
        ({"overrides": ["adapter.rank=0"]}, "'adapter.rank' must be greater than or equal to 1"),
        ({"overrides": ["data.subset_seed=1"]}, "data.subset_seed draws data.size records"),
        ({"overrides": ["data.share=0.5"]}, "set data.transform, too"),
        ({"limit": 0}, "--limit must be 1 or more, not 0"),
    ],
)
def test_bad_input_is_one_line_that_names_what_would_do(kwargs, message):
    kwargs = {"profile": "nano", "arm": "lora", "seed": 1, **kwargs}
    with pytest.raises(FlexError, match=message) as error:
        config.load(**kwargs)
    assert "\n" not in str(error.value)


def test_a_base_arm_checks_the_parameters_that_it_does_not_use():
    assert load("adapter.rank=4", arm="base") == load(arm="base")
    with pytest.raises(FlexError, match=r"adapter.ranks"):
        load("adapter.ranks=4", arm="base")


def test_a_decoding_in_all_languages_changes_nothing_else():
    wanted, usual = load(decoding="four-languages"), load()
    assert [b.language for b in wanted.benchmarks] == ["python", "java", "javascript", "cpp"]
    assert set(usual.benchmarks) < set(wanted.benchmarks)
    assert wanted.training == usual.training and wanted.label == "lora four-languages"
    other = load("training.dataset=nanobench-java", decoding="four-languages")
    assert other.label == "lora four-languages training.dataset=nanobench-java"
    assert other.training == dataclasses.replace(usual.training, dataset="nanobench-java")


def test_a_decoding_that_brings_benchmarks_is_of_these_alone():
    wanted, [usual, _] = load(decoding="harder-tasks"), load().benchmarks
    languages = ("python", "java", "javascript", "cpp")
    assert wanted.benchmarks == tuple(
        dataclasses.replace(usual, name=f"nanobench-hard-{language}", language=language)
        for language in languages
    )
    identity = config.training_identity
    assert identity(config.to_dict(wanted)) == identity(config.to_dict(load()))
    assert all("hard" not in b.name for arm in config.arms() for b in load(arm=arm).benchmarks)


@pytest.mark.usefixtures("untuned")
def test_an_untuned_arm_is_told_from_one_at_a_value_that_was_named():
    """Even where that is the default: the label of the arm alone is kept for what will be tuned."""
    bare = load(arm="full")
    assert bare.untuned == ("training.learning_rate",) and bare.label == "full"
    key = f"training.learning_rate={bare.training.learning_rate}"
    named = load(key, "training.epochs=3", arm="full")
    assert named.untuned is None and named.label == "full training.learning_rate=0.004"
    assert load(key).label == "lora" and load(arm="sophia").untuned is None
    assert load("training.learning_rate=1", profile="small").untuned is None
    same = config.training_identity
    assert same(config.to_dict(bare)) == same(config.to_dict(named))


def test_mbpps_test_split_is_asked_for_by_a_decoding_alone():
    wanted = load(profile="small", decoding="mbpp-test")
    usual = load(profile="small").benchmarks[0]
    assert usual.name == "humaneval"
    assert wanted.benchmarks == (dataclasses.replace(usual, name="mbpp-test"),)
    assert wanted.label == "lora mbpp-test"
    identity = config.training_identity
    assert identity(config.to_dict(wanted)) == identity(config.to_dict(load(profile="small")))
    assert "mbpp-test" not in config.benchmarks_of("small")


# --- identity -----------------------------------------------------------------------------------


def test_id_is_stable():
    """A changed id would orphan every stored run: change it knowingly, and the store with it."""
    fixed = config.RunConfig(
        profile="p",
        arm="a",
        seed=1,
        base_model="anywhere",
        base_digest="d",
        benchmarks=(config.BenchmarkSettings("b", "python"),),
        training=config.TrainingSettings("nanobench"),
        adapter=config.ADAPTERS["lora"].settings("lora"),
    )
    assert run_id(fixed) == "216ed5774568"


def test_id_is_twelve_hex_digits_of_what_changes_the_result():
    wanted = load()
    assert len(run_id(wanted)) == 12 and int(run_id(wanted), 16) >= 0
    other = [
        load(seed=2),
        load(arm="base"),
        load("adapter.rank=4"),
        load("decoding.temperature=0.2"),
        load(limit=5),
        dataclasses.replace(wanted, base_digest="other weights"),
        dataclasses.replace(
            wanted, training=dataclasses.replace(wanted.training, digest="other data")
        ),
    ]
    assert len({run_id(c) for c in [wanted, *other]}) == 1 + len(other)


def test_id_does_not_depend_on_where_the_model_lies_or_how_values_are_written():
    assert run_id(load("base_model=a/b")) != run_id(load())  # an override is part of the label
    moved = dataclasses.replace(load(), base_model="/elsewhere/base")
    assert run_id(moved) == run_id(load())
    assert run_id(load("training.epochs=1")) == run_id(load("training.epochs=1.0"))
    assert run_id(load("adapter.target_modules=q_proj,k_proj")) == run_id(
        load('adapter.target_modules=["q_proj", "k_proj"]')
    )


def test_an_override_without_effect_is_the_same_run():
    assert load("adapter.rank=8", "languages=java,python") == load()


def test_what_was_stored_in_other_words_keeps_its_words():
    stored = config.to_dict(load(arm="shuffled"))
    assert stored["training"]["answers"] == "format-only" and "data" not in stored
    assert "kind" not in stored["lora"] and "adapter" not in stored
    new = config.to_dict(load("data.share=0.5", "adapter.kind=dora", arm="shuffled"))
    assert new["data"] == {"transform": "shuffled-alike", "share": 0.5} and "lora" not in new
    assert new["adapter"]["kind"] == "dora" and "answers" not in new["training"]


def test_the_arm_shuffled_is_stored_under_its_first_name_and_shown_under_todays():
    assert config.to_dict(load(arm="shuffled"))["arm"] == "format-only"
    for arm in ("shuffled", "format-only", "lora"):
        wanted = load(arm=arm)
        assert wanted.label == config.arm_of(config.to_dict(wanted)) == arm
    other = config.to_dict(load("adapter.kind=dora", "data.share=0.5", arm="shuffled"))
    assert other["arm"] == config.arm_of(other) == "shuffled"  # no run was stored of it before
    assert run_id(load(arm="format-only")) != run_id(load(arm="shuffled"))
    answers = config.to_dict(load("data.transform=shuffled-alike"))
    assert answers["arm"] == config.arm_of(answers) == "lora"


def test_label_tells_variants_apart():
    assert load().label == "lora"
    assert load("adapter.rank=4", limit=7).label == "lora adapter.rank=4 limit=7"


def test_the_seed_of_a_run_without_chance_is_0():
    """Five greedy runs of the base are one run, not five repetitions."""
    assert load(arm="base", seed=5) == load(arm="base", seed=1)
    assert load("decoding.temperature=0.2", arm="base", seed=5).seed == 5
    assert load(seed=5).seed == 5
