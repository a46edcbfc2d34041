"""The whole way of a run, through the command line: made once, resumed, regraded, never corrupted."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import os
import random
import re
import shutil
import signal
from pathlib import Path

import pytest
import safetensors.torch
import tiny
import torch

from flexlib import cli, config, models, paths
from flexlib.analysis import spectra, stored
from flexlib.errors import FlexError
from flexlib.runs import pipeline, preflight, provenance, store
from flexlib.runs.machine import Machine

# Small enough for seconds: few problems, one language, a fraction of the training set.
SETTINGS = {
    "languages": "python",
    "decoding.max_new_tokens": "24",
    "training.train_limit": "20",
    "training.max_length": "64",
    "training.evaluations": "1",
}
SMALL = ["--limit", "5", *(a for k, v in SETTINGS.items() for a in ("--set", f"{k}={v}"))]


class Place:
    """A tiny base, and folders for a store and its work."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.store, self.work, self.base = folder / "runs", folder / "work", base

    def arguments(self, command: str, *more: str) -> list[str]:
        where = ["--store", self.store, "--work-dir", self.work, "--base-model", self.base]
        return [command, *map(str, where), "--quiet", *SMALL, *more]

    def call(self, command: str, *more: str) -> int:
        return cli.main(self.arguments(command, *more))

    def regrade(self, *more: str) -> int:
        return cli.main(["regrade", "--store", str(self.store), "--quiet", *more])

    def runs(self) -> list[Path]:
        return store.run_folders(self.store)


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return tiny.make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def place(tmp_path, base) -> Place:
    return Place(tmp_path, base)


@pytest.fixture(scope="session")
def made(tmp_path_factory, base) -> Place:
    """One run of lora, seed 1, that tests look at or copy."""
    place = Place(tmp_path_factory.mktemp("made"), base)
    assert place.call("run", "--arm", "lora", "--seed", "1") == 0
    return place


@pytest.fixture
def copied(made, place) -> Place:
    shutil.copytree(made.store, place.store)
    return place


@pytest.fixture
def judge(monkeypatch):
    """Exchange the grader for a function from a task's number to the verdict on its program."""
    from flexlib import grading
    from flexlib.grading import completions

    def exchange(verdict_of) -> None:
        def grade(programs, **kwargs):
            for program in programs:
                number = re.fullmatch(r"NanoBench/test/(\d+)#0", program.id)
                word = verdict_of(int(number[1])) if number else "pass"  # the probe
                yield grading.Verdict(program.id, word, "as told", 0.0)

        monkeypatch.setattr(grading, "grade", grade)
        monkeypatch.setattr(completions, "_judged", {})  # what another grader judged

    return exchange


def error_line(capsys) -> str:
    """What a failed command said: one line."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    """A run's results; provenance tells times, so it is left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "provenance.json"
    }


# --- one run ------------------------------------------------------------------------------------


def test_a_run_is_stored_whole_and_reported_with_an_interval(place, capsys):
    assert place.call("run", "--arm", "lora", "--seed", "1") == 0
    said = capsys.readouterr().out
    [folder] = place.runs()
    assert folder.name in said and "pass@1" in said and "(95 %), 5 problems" in said
    assert sorted(contents(folder)) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "completions-nanobench-python.ndjson.gz",
        "config.json",
        "spectra.csv.gz",
        "training.csv",
        "verdicts-nanobench-python.csv",
    ]
    assert list(place.work.iterdir()) == []
    table = store.verdicts(place.store)
    assert list(table["task_id"]) == [f"NanoBench/test/{i}" for i in range(5)]
    assert len(store.training(place.store)) == 16  # 20 records, batch 4, 3 epochs; step 0


def test_without_bf16_a_cpu_computes_a_bf16_run_in_fp32(place, base, tmp_path, monkeypatch):
    """The same, bit for bit, as an fp32 run from weights that were rounded beforehand; it says so."""
    monkeypatch.setattr("flexlib.training.trainer._LARGE_VOCABULARY", 0)  # both in pieces
    monkeypatch.setattr("flexlib.models.speed.multiplies_bf16", lambda: False)
    rounded = tmp_path / "rounded"
    shutil.copytree(base, rounded)
    weights = safetensors.torch.load_file(base / "model.safetensors")
    assert any(not torch.equal(w, w.bfloat16().float()) for w in weights.values())
    weights = {name: w.bfloat16().float() for name, w in weights.items()}
    safetensors.torch.save_file(weights, rounded / "model.safetensors", {"format": "pt"})
    in_bf16 = ("--set", "training.precision=bf16", "--set", "decoding.precision=bf16")
    for where, settings in ((base, in_bf16), (rounded, ())):
        place.base = where
        assert place.call("run", "--arm", "lora", "--seed", "1", *settings) == 0
    made = {store.read_provenance(run)["arithmetic"] != {}: run for run in place.runs()}
    computed = {"training": "fp32", "nanobench-python": "fp32"}
    assert store.read_provenance(made[True])["arithmetic"] == computed
    first, second = (contents(made[key]) for key in (True, False))
    assert {**first, "config.json": b""} == {**second, "config.json": b""}


def test_provenance_says_with_what_and_names_no_place(made):
    [folder] = made.runs()
    facts = store.read_provenance(folder)
    assert facts["packages"].keys() == set(provenance.PACKAGES)
    assert facts["seconds"].keys() == {"train", "generate", "grade"}
    assert facts["device"] == "cpu" and facts["gpu"] is None and facts["processes"] == 1
    wanted = json.loads((folder / "config.json").read_text())
    assert wanted["base_digest"] == models.digest(made.base)
    assert wanted["training"]["digest"] and wanted["benchmarks"]["nanobench-python"]["digest"]
    text = b"".join(p.read_bytes() for p in folder.rglob("*.json")).decode()
    for place in (made.base, made.store, paths.ROOT, Path.home()):
        assert str(place) not in text


def test_a_stored_run_is_not_made_again(copied, monkeypatch):
    monkeypatch.setattr(pipeline, "make", lambda *args: pytest.fail("made again"))
    before = copied.runs()
    assert copied.call("run", "--arm", "lora", "--seed", "1") == 0
    assert copied.runs() == before


def test_a_grid_makes_what_is_missing_and_no_run_twice(copied, judge, capsys):
    """The base has no chance in it: three seeds of it are one run."""
    judge(lambda i: "wrong")
    old = copied.runs()
    assert copied.call("grid", "--arm", "base", "--arm", "lora", "--seeds", "1..2") == 0
    table = store.runs(copied.store)
    made = [(label.split()[0], seed) for label, seed in zip(table.arm, table.seed, strict=True)]
    assert sorted(made) == [("base", 0), ("lora", 1), ("lora", 2)]
    assert set(old) < set(copied.runs())
    assert "[3/3]" in capsys.readouterr().out


def test_a_truncated_completion_is_told_from_one_that_ended(place, judge):
    judge(lambda i: "wrong")
    assert place.call("run", "--arm", "base", "--set", "decoding.max_new_tokens=3") == 0
    assert set(store.verdicts(place.store)["detail"]) == {"truncated; as told"}


def test_merged_and_unmerged_adapters_write_the_same_programs(made, place):
    merged = ["--set", "decoding.merge_adapter=true"]
    assert place.call("run", "--arm", "lora", "--seed", "1", *merged) == 0
    name = "completions-nanobench-python.ndjson.gz"
    [unmerged], [merged] = made.runs(), place.runs()
    assert gzip.decompress((unmerged / name).read_bytes()) == gzip.decompress(
        (merged / name).read_bytes()
    )


# --- interruptions ------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_is_identical(made, place):
    """``kill -9``, three times, somewhere between the first file of the work folder and the last: in
    training, generation or grading."""
    arguments, rng = place.arguments("run", "--arm", "lora", "--seed", "1"), random.Random(1)
    codes = []
    for _ in range(3):  # a run that is not interrupted touches its work folder 202 times
        after = rng.randint(1, 150)
        codes.append(tiny.killed(cli.main, arguments, folder=place.work, after=after))
        assert place.runs() == [] or contents(place.runs()[0])["config.json"]
    assert -signal.SIGKILL in codes
    assert place.call("run", "--arm", "lora", "--seed", "1") == 0
    [expected], [resumed] = made.runs(), place.runs()
    assert contents(resumed) == contents(expected)
    assert list(place.work.iterdir()) == []


def test_ctrl_c_is_one_line_and_keeps_the_work(place, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "grade", interrupted)
        assert place.call("run", "--arm", "lora") == 130
    assert "give the same command again" in error_line(capsys)
    assert place.runs() == []
    monkeypatch.setattr(
        "flexlib.training.trainer.train", lambda *a, **k: pytest.fail("trained again")
    )
    assert place.call("run", "--arm", "lora") == 0
    assert store.read_provenance(place.runs()[0])["processes"] == 2


def test_two_processes_at_once_make_one_run(made, place):
    arguments = place.arguments("run", "--arm", "lora", "--seed", "1")
    children = [tiny.child(cli.main, arguments) for _ in range(2)]
    for process in children:
        process.join()
    [expected], [got] = made.runs(), place.runs()
    assert contents(got) == contents(expected)
    assert store.read_provenance(got)["processes"] == 1


def test_a_run_in_the_making_is_left_alone(place, capsys):
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    wanted = config.load("nano", "base", 0, overrides=settings, limit=5)
    machine = Machine(store=place.store, work_dir=place.work, base_model=place.base)
    run_id = config.run_id(config.to_dict(preflight.resolve(wanted, machine)[0]))
    with pipeline.locked(place.work, run_id):
        assert place.call("run", "--arm", "base") == 2
        assert f"another process is making run {run_id}" in error_line(capsys)
        assert place.call("grid", "--arm", "base") == 0
        assert "another process is making it" in capsys.readouterr().out
    assert place.runs() == []


# --- bad input: one line, status 2, nothing written -----------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arm", "lora", "--profile", "micro"], "unknown profile 'micro'"),
        (["--arm", "lorax"], "unknown arm 'lorax'"),
        (["--arm", "lora", "--set", "adapter.ranks=4"], "unknown parameter 'adapter.ranks'"),
        (["--arm", "lora", "--set", "languages=cobol"], "unknown language 'cobol'"),
        (["--arm", "lora", "--base-model", "/nowhere"], "no model folder /nowhere"),
        (["--arm", "lora", "--device", "cuda"], "no CUDA GPU is visible"),
        (["--arm", "lora", "--device", "tpu"], "unknown device 'tpu'; take cpu or cuda"),
        (["--arm", "lora", "--set", "adapter.target_modules=query"], "no module 'query'"),
        (["--arm", "lora", "--microbatch", "3"], "does not divide"),
        (["--arm", "lora", "--set", "training.dataset=ape"], "unknown dataset 'ape'"),
    ],
)
def test_bad_input(place, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert place.call("run", *arguments) == 2
    assert message in error_line(capsys)
    assert place.runs() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "--arm", "lora", "--seed", "-1"],
        ["run", "--arm", "lora", "--limit", "few"],
        ["grid", "--arm", "lora", "--seeds", "5..1"],
        ["grid", "--arm", "lora", "--seeds", "one"],
        ["fly"],
    ],
)
def test_arguments_that_make_no_sense(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert error_line(capsys).startswith("flexlib: ")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda base: (base / "config.json").unlink(), "no model folder: it has no config.json"),
        (lambda base: (base / "model.safetensors").unlink(), "it has no .*safetensors"),
        (lambda base: (base / "model.safetensors").write_bytes(b"x" * 99), "no causal model"),
        (lambda base: (base / "config.json").write_text("{"), "no (tokenizer|causal model)"),
        (lambda base: (base / "tokenizer.json").write_text("{}"), "no tokenizer that loads"),
    ],
    ids=["no config", "no weights", "damaged weights", "damaged config", "damaged tokenizer"],
)
def test_a_folder_that_is_no_model(place, capsys, tmp_path, damage, message):
    place.base = Path(shutil.copytree(place.base, tmp_path / "damaged"))
    damage(place.base)
    assert place.call("run", "--arm", "lora") == 2
    line = error_line(capsys)
    assert re.search(message, line), line
    assert place.runs() == []


def test_no_network_for_a_hub_id(place, capsys):
    """The suite runs with the hub switched off, which fails as a missing network does."""
    place.base = None
    arguments = ["run", "--arm", "base", "--set", "base_model=nobody/nothing", "--limit", "1"]
    arguments += ["--store", str(place.store), "--work-dir", str(place.work)]
    assert cli.main(arguments) == 2
    line = error_line(capsys)
    assert "cannot fetch nobody/nothing from the hub" in line and "--base-model" in line
    assert not place.store.exists()


def test_a_missing_toolchain_is_found_before_the_training(place, capsys, monkeypatch):
    def grade(programs, **kwargs):
        raise FlexError("javac is missing; install default-jdk-headless")

    monkeypatch.setattr("flexlib.grading.grade", grade)
    monkeypatch.setattr("flexlib.training.trainer.train", lambda *a, **k: pytest.fail("trained"))
    assert place.call("run", "--arm", "lora", "--set", "languages=java") == 2
    line = error_line(capsys)
    assert "cannot grade java here" in line and "default-jdk" in line
    assert place.runs() == []


def test_a_corrupt_run_stops_the_command(copied, capsys):
    [folder] = copied.runs()
    (folder / "provenance.json").write_text('{"half":')
    assert copied.call("run", "--arm", "lora", "--seed", "1") == 2
    assert f"run {folder.name} is corrupt" in error_line(capsys)
    assert (folder / "adapter").exists()  # for its owner to remove


@pytest.mark.parametrize("where", ["train", "store"])
def test_a_full_disk_keeps_the_work_and_is_resumed(place, made, capsys, monkeypatch, where):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = {"train": "flexlib.models.adapters.save", "store": "shutil.copytree"}[where]
    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        assert place.call("run", "--arm", "lora", "--seed", "1") == 2
    assert "no space left" in error_line(capsys)
    assert place.runs() == [] and not list(place.store.glob(".*"))
    assert place.call("run", "--arm", "lora", "--seed", "1") == 0
    [expected], [got] = made.runs(), place.runs()
    assert contents(got) == contents(expected)


def test_a_program_that_cannot_be_judged_is_stored_and_left_out_of_the_rate(place, judge, capsys):
    judge(lambda i: {1: "wrong", 3: "harness_error"}.get(i, "pass"))
    assert place.call("run", "--arm", "base") == 0
    said = capsys.readouterr().out
    assert "pass@1 75.0 %" in said and "4 problems" in said
    [folder] = place.runs()
    again = f"`flexlib regrade {folder.name} --store {place.store}`"
    assert f"left out: 1 (first NanoBench/test/3: truncated; as told); {again}" in said
    verdicts = [v["verdict"] for v in store.read_verdicts(folder, "nanobench-python")]
    assert verdicts == ["pass", "wrong", "pass", "harness_error", "pass"]
    judge(lambda i: "wrong" if i == 1 else "pass")
    assert place.regrade() == 0
    assert "NanoBench/test/3 sample 0: harness_error -> pass" in capsys.readouterr().out
    assert place.call("run", "--arm", "base") == 0
    said = capsys.readouterr().out
    assert "5 problems" in said and "not judged" not in said


def test_a_grader_that_is_broken_stops_the_run(place, judge, capsys):
    judge(lambda i: "harness_error" if i > 2 else "pass")
    assert place.call("run", "--arm", "base") == 2
    assert "could not judge 2 of 5 programs (first NanoBench/test/3#0" in error_line(capsys)
    assert place.runs() == []
    judge(lambda i: "pass")
    assert place.call("run", "--arm", "base") == 0


# --- verdicts that are known ----------------------------------------------------------------------


@pytest.fixture
def untrained(copied, monkeypatch) -> Place:
    """The store also has the base, whose programs a second run writes again; nothing is known."""
    from flexlib.grading import completions

    assert copied.call("run", "--arm", "base") == 0
    monkeypatch.setattr(completions, "_judged", {})
    return copied


AGAIN = ("grid", "--arm", "base", "--limit", "4")  # the first four of its five programs


@pytest.fixture
def programs(monkeypatch) -> list:
    """Those that the grader is given."""
    from flexlib import grading

    seen, judge = [], grading.grade

    def grade(programs, **options):
        programs = list(programs)
        seen.extend(p for p in programs if p.id != "probe")
        return judge(programs, **options)

    monkeypatch.setattr(grading, "grade", grade)
    return seen


def test_a_grid_judges_every_program_unless_it_is_told_that_some_are_known(untrained, programs):
    assert untrained.call(*AGAIN) == 0
    assert len(programs) == 4
    table = store.runs(untrained.store)
    assert list(table["known_verdicts"]) == [False] * 3


def test_known_programs_are_not_judged_again(untrained, programs):
    """The stored verdicts are altered, so that they are seen to be where the new ones are from."""
    [base] = [r for r in untrained.runs() if store.read_config(r)["arm"] == "base"]
    rows = store.read_verdicts(base, "nanobench-python")
    told = {"verdict": "wrong", "passed": False, "detail": "truncated; told"}  # they do not compile
    rows = [row | told for row in rows]
    store.replace_verdicts(base, {"nanobench-python": rows}, {})
    rows_as_stored = store.read_verdicts(base, "nanobench-python")
    assert untrained.call(*AGAIN, "--known-verdicts") == 0
    [new] = [r for r in untrained.runs() if store.read_provenance(r)["known_verdicts"]]
    assert store.read_verdicts(new, "nanobench-python") == rows_as_stored[:4] and not programs
    assert untrained.regrade("--check", new.name) == 1  # takes nothing over
    assert len(programs) == 4


@pytest.mark.parametrize("other", ["a toolchain", "a benchmark"])
def test_what_was_judged_otherwise_is_judged_again(untrained, programs, other, monkeypatch):
    from flexlib.runs import known

    if other == "a toolchain":
        monkeypatch.setattr(provenance, "toolchain_version", lambda language: "another")
    asked = {"nanobench-python"} if other == "a toolchain" else {"nanobench-java"}
    assert known.take_over(Machine(store=untrained.store, progress=False), asked) == 0


# --- regrading ------------------------------------------------------------------------------------


def test_regrading_says_that_nothing_changed(copied, capsys):
    [folder] = copied.runs()
    before = contents(folder)
    assert copied.regrade() == 0
    assert "nothing changed" in capsys.readouterr().out
    assert contents(folder) == before


def test_regrading_writes_what_changed(copied, judge, capsys):
    [folder] = copied.runs()
    old = store.read_verdicts(folder, "nanobench-python")
    judge(lambda i: "timeout" if i == 2 else old[i]["verdict"])
    before = contents(folder)
    assert copied.regrade("--check") == 1  # looks, and writes nothing
    assert contents(folder) == before
    assert copied.regrade(folder.name) == 0
    said = capsys.readouterr().out
    assert f"NanoBench/test/2 sample 0: {old[2]['verdict']} -> timeout" in said
    assert "1 of 5 verdicts changed" in said
    new = store.read_verdicts(folder, "nanobench-python")
    assert [v["verdict"] for v in new] == [
        "timeout" if i == 2 else v["verdict"] for i, v in enumerate(old)
    ]
    assert len(store.read_provenance(folder)["regraded"]) == 1


def test_regrading_never_gives_up_a_verdict(copied, judge, capsys):
    [folder] = copied.runs()
    old = store.read_verdicts(folder, "nanobench-python")
    before = contents(folder)
    judge(lambda i: "harness_error" if i == 2 else old[i]["verdict"])
    assert copied.regrade() == 2
    said = error_line(capsys)
    assert "NanoBench/test/2#0 (" in said and f"which was {old[2]['verdict']};" in said
    assert contents(folder) == before


def test_regrading_repairs_a_damaged_verdicts_file(copied, made):
    [folder], [original] = copied.runs(), made.runs()
    verdicts = folder / "verdicts-nanobench-python.csv"
    verdicts.write_text("task_id,sample\n")
    assert copied.regrade() == 0
    assert verdicts.read_bytes() == (original / verdicts.name).read_bytes()
    store.verdicts(copied.store)


def test_regrading_refuses_other_problems_than_the_run_had(copied, capsys, monkeypatch):
    from flexlib.tasks import benchmarks

    load = benchmarks.load_benchmark
    monkeypatch.setattr(benchmarks, "load_benchmark", lambda *a, **k: load(*a, **k)[::-1])
    assert copied.regrade() == 2
    assert "is not the one that run" in error_line(capsys)


def test_work_that_a_process_left_when_it_was_killed_is_cleared_away(copied, capsys):
    [run] = copied.runs()
    left = copied.work / run.name
    left.mkdir(parents=True)
    (left / "checkpoint").touch()
    assert copied.call("run", "--arm", "lora", "--seed", "1") == 0
    assert not left.exists()


def test_a_run_whose_analysis_failed_keeps_what_it_is_made_of(place, made, monkeypatch, capsys):
    def broken(run, machine):
        raise ValueError("a bug")

    row = dataclasses.replace(stored.ANALYSES["spectra"], function=broken)
    monkeypatch.setitem(stored.ANALYSES, "spectra", row)
    assert place.call("grid", "--arm", "lora", "--seeds", "1", "--compact") == 0
    assert "spectra: failed (ValueError: a bug)" in capsys.readouterr().out
    [run] = place.runs()
    assert not store.is_compact(run)
    shutil.rmtree(run)


def test_a_compact_run_is_the_same_without_its_bulk_and_is_passed_over_in_regrading(
    place, made, capsys
):
    assert place.call("grid", "--arm", "lora", "--seeds", "1", "--compact") == 0
    assert "pass@1" in capsys.readouterr().out  # reported like any other
    [compact], [whole] = place.runs(), made.runs()
    assert compact.name == whole.name  # how a run is stored is no part of what it is
    expected = contents(whole)
    bulk = {n for n in expected if n.startswith(("adapter/", "completions-"))}
    assert contents(compact) == {n: c for n, c in expected.items() if n not in bulk}
    digests = store.read_provenance(whole)["files"]
    assert store.read_provenance(compact)["dropped"] == {n: digests[n] for n in bulk}
    assert list(place.work.iterdir()) == []
    assert place.call("grid", "--arm", "lora", "--seeds", "1") == 0  # it is there
    assert (compact / "spectra.csv.gz").exists()  # what was computed before
    capsys.readouterr()
    assert place.regrade() == 0
    said = capsys.readouterr().out
    assert f"{compact.name} nanobench-python: stored compactly, without completions" in said
    assert place.regrade(compact.name) == 2
    assert "make the run again without --compact" in error_line(capsys)
    with pytest.raises(FlexError, match="stored compactly"):
        spectra.read_adapter(compact / "adapter")


def test_regrading_an_unknown_run(copied, capsys):
    assert copied.regrade("123456789abc") == 2
    assert "no run '123456789abc'" in error_line(capsys)


def test_seeds_are_read_as_written():
    for text, seeds in {"3": [3], "1..3": [1, 2, 3], "1,4..5": [1, 4, 5], "0": [0]}.items():
        assert cli.options.seeds(text) == seeds
