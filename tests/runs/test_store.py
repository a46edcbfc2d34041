"""The store: whole or absent, and nothing damaged is ever read as data."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flexlib import analysis, cli, config, disk, formats, paths
from flexlib.errors import FlexError
from flexlib.runs import store

VERDICTS = [
    {"task_id": "t/0", "sample": 0, "verdict": "pass", "passed": True, "detail": ""},
    {"task_id": "t/1", "sample": 0, "verdict": "wrong", "passed": False, "detail": 'got "1, 2"'},
]
COMPLETIONS = [
    {
        "task_id": v["task_id"],
        "sample": 0,
        "completion": "é\u2028\x85\n",
        "tokens": 2,
        "truncated": False,
    }
    for v in VERDICTS
]


def finished(folder: Path, arm: str = "lora", seed: int = 1, **kwargs) -> tuple[str, Path]:
    """The work folder of a finished run, and its id."""
    data = config.to_dict(config.load("nano", arm, seed, **kwargs))
    source = folder / f"work-{config.run_id(data)}"
    source.mkdir(parents=True)
    (source / "config.json").write_bytes(formats.to_json(data))
    (source / "provenance.json").write_bytes(formats.to_json({"seconds": {"train": 1.5}}))
    if "training" in data:
        (source / "adapter").mkdir()
        (source / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
        rows = [
            {"step": 0, "epoch": 0, "tokens": 0, "eval_loss": 2.5},
            {"step": 1, "epoch": 1.0, "tokens": 9, "loss": 2.0, "lr": 1e-4, "grad_norm": 0.5},
        ]
        (source / "training.csv").write_bytes(formats.to_csv(formats.TRAINING_FIELDS, rows))
    for name in data["benchmarks"]:
        (source / f"completions-{name}.ndjson.gz").write_bytes(formats.to_jsonl_gz(COMPLETIONS))
        csv = formats.to_csv(formats.VERDICT_FIELDS, VERDICTS)
        (source / f"verdicts-{name}.csv").write_bytes(csv)
    return config.run_id(data), source


@pytest.fixture
def runs(tmp_path) -> Path:
    """A store with a base run and two of lora."""
    folder = tmp_path / "runs"
    for arm, seed in [("base", 0), ("lora", 1), ("lora", 2)]:
        store.save(folder, *finished(tmp_path, arm, seed))
    return folder


def lora_run(runs: Path) -> Path:
    return next(p for p in store.run_folders(runs) if (p / "adapter").exists())


# --- what is saved is what is read ---------------------------------------------------------------


def test_verdicts_are_tidy(runs):
    table = store.verdicts(runs)
    assert list(table.columns) == [
        *["run_id", "profile", "arm", "seed", "benchmark", "language", "task_id", "sample"],
        *["verdict", "passed", "detail"],
    ]
    assert len(table) == 3 * 2 * 2  # runs, benchmarks, programs
    assert table["passed"].dtype == bool and table["sample"].dtype == int
    assert set(table["arm"]) == {"base", "lora"} and set(table["language"]) == {"python", "java"}
    assert table["passed"].mean() == 0.5
    assert set(table["detail"]) == {"", 'got "1, 2"'}


def test_training_has_the_runs_that_trained(runs):
    table = store.training(runs)
    assert set(table["seed"]) == {1, 2}
    assert table[table.step == 0]["eval_loss"].tolist() == [2.5, 2.5]
    assert table[table.step == 0]["loss"].isna().all()


def test_runs_flatten_settings_and_provenance(runs):
    table = store.runs(runs)
    assert list(table.columns[:4]) == ["run_id", "profile", "arm", "seed"]
    assert table["training.learning_rate"].dropna().unique().tolist() == [
        config.load("nano", "lora", 1).training.learning_rate
    ]
    assert table["seconds.train"].tolist() == [1.5] * 3
    assert not [name for name in table.columns if name.startswith("files")]


def test_runs_stored_without_the_parts_of_the_loss_and_without_spectra_are_read(runs, tmp_path):
    """As those of version 0.1: the cross-entropy of a run without a penalty is its loss."""
    before = store.training(runs)
    assert before["penalty"].isna().all()
    assert before["ce"].equals(before["loss"])
    assert (
        analysis.read("spectra", runs).empty and "value" in analysis.read("spectra", runs).columns
    )

    run_id, source = finished(tmp_path / "new", "fourier-released")
    row = {"step": 1, "epoch": 1.0, "tokens": 9, "loss": 2.0, "ce": 1.5, "penalty": 0.5}
    (source / "training.csv").write_bytes(formats.to_csv(formats.TRAINING_FIELDS, [row]))
    row = {"module": "q_proj", "part": "A", "quantity": "norm", "value": 2.5}
    (source / "spectra.csv.gz").write_bytes(
        formats.to_csv_gz(analysis.ANALYSES["spectra"].fields, [row])
    )
    store.save(runs, run_id, source)
    [new] = store.training(runs).query("run_id == @run_id").to_dict("records")
    assert (new["loss"], new["ce"], new["penalty"]) == (2.0, 1.5, 0.5)
    [spectrum] = analysis.read("spectra", runs).to_dict("records")
    assert (spectrum["arm"], spectrum["seed"]) == ("fourier-released", 1)
    assert (spectrum["quantity"], spectrum["value"]) == ("norm", 2.5)


def test_completions_come_back(runs):
    assert store.read_completions(lora_run(runs), "nanobench-java") == COMPLETIONS


def test_an_empty_store_reads_as_empty_tables(tmp_path):
    assert store.runs(tmp_path / "none").empty
    assert "verdict" in store.verdicts(tmp_path / "none").columns
    assert "loss" in store.training(tmp_path / "none").columns


def test_other_profiles_can_be_left_out(runs):
    assert store.verdicts(runs, profile="paper").empty
    assert len(store.runs(runs, profile="nano")) == 3


def test_equal_content_gives_equal_bytes():
    assert formats.to_jsonl_gz(COMPLETIONS) == formats.to_jsonl_gz([dict(c) for c in COMPLETIONS])


# --- corruption ---------------------------------------------------------------------------------

DAMAGE = {
    "no config": lambda run: (run / "config.json").unlink(),
    "half a config": lambda run: cut(run / "config.json"),
    "an edited config": lambda run: edit(run / "config.json", '"seed": 1', '"seed": 7'),
    "no provenance": lambda run: (run / "provenance.json").unlink(),
    "half a provenance": lambda run: cut(run / "provenance.json"),
    "no verdicts": lambda run: (run / "verdicts-nanobench-java.csv").unlink(),
    "half the verdicts": lambda run: cut(run / "verdicts-nanobench-java.csv"),
    "an edited verdict": lambda run: edit(run / "verdicts-nanobench-java.csv", "wrong", "pass"),
    "no adapter": lambda run: shutil.rmtree(run / "adapter"),
    "empty": lambda run: [shutil.rmtree(run), run.mkdir()],
}


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text or '"seed": 2' in text
    path.write_text(text.replace(old, new).replace('"seed": 2', '"seed": 7'))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_run_is_never_read_as_data(runs, damage):
    run = lora_run(runs)
    damage(run)
    with pytest.raises(FlexError, match=f"run {run.name}") as error:
        store.verdicts(runs)
    assert "\n" not in str(error.value)
    assert "remove" in str(error.value) or "regrade" in str(error.value)


def test_a_command_names_the_store_where_it_is_not_the_projects_own():
    assert store.command("regrade", paths.RUNS / "abc") == "flexlib regrade abc"
    elsewhere = store.command("regrade", Path("/of two words/abc"))
    assert elsewhere == "flexlib regrade abc --store '/of two words'"
    assert cli.parser().parse_args(shlex.split(elsewhere)[1:]).store == Path("/of two words")


@pytest.mark.parametrize("name", ["training.csv", "completions-nanobench-java.ndjson.gz"])
def test_damage_is_found_in_the_file_that_is_read(runs, name):
    run = lora_run(runs)
    cut(run / name)
    with pytest.raises(FlexError, match=f"{name} was altered or cut short"):
        store.training(runs) if name == "training.csv" else store.read_completions(
            run, "nanobench-java"
        )


def test_a_damaged_run_is_not_taken_for_done(runs):
    run = lora_run(runs)
    (run / "config.json").unlink()
    with pytest.raises(FlexError, match="corrupt"):
        store.has(runs, run.name)


def test_work_in_progress_is_not_a_run(runs):
    shutil.copytree(lora_run(runs), runs / f".{lora_run(runs).name}.123.tmp")
    assert len(store.runs(runs)) == 3


def test_two_runs_that_claim_the_same_seed_are_refused(runs, tmp_path):
    """Such as one made before the base model changed: averaging them would count one seed twice."""
    data = json.loads((lora_run(runs) / "config.json").read_text()) | {"base_digest": "other"}
    _, source = finished(tmp_path / "more", seed=data["seed"])
    (source / "config.json").write_bytes(formats.to_json(data))
    store.save(runs, config.run_id(data), source)
    with pytest.raises(FlexError, match=r"are both nano lora seed .; remove the stale one"):
        store.verdicts(runs)


# --- atomicity ----------------------------------------------------------------------------------


def test_saving_twice_keeps_the_first(runs):
    run = lora_run(runs)
    before = (run / "provenance.json").read_bytes()
    _, source = finished(runs / ".." / "again", seed=store.read_config(run)["seed"])
    (source / "provenance.json").write_text('{"late": true}')
    store.save(runs, run.name, source)
    assert (run / "provenance.json").read_bytes() == before
    assert not list(runs.glob(".*"))


def test_what_a_killed_process_left_aside_is_not_stored(tmp_path):
    run_id, source = finished(tmp_path)
    (source / ".provenance.json.123.tmp").write_text("half of")
    run = store.save(tmp_path / "runs", run_id, source)
    assert not list(run.rglob(".*"))
    assert not [name for name in store.read_provenance(run)["files"] if name.startswith(".")]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    run_id, source = finished(tmp_path)

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(disk.os, "fsync", full)
    with pytest.raises(FlexError, match=r"no space left in .*; free some") as error:
        store.save(tmp_path / "runs", run_id, source)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "runs").iterdir()) == []
    assert source.exists()  # nothing lost


def test_a_really_full_disk(tmp_path):
    """The same on a file system of 64 KiB, which bubblewrap can mount without privileges."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    run_id, source = finished(tmp_path)
    (source / "adapter" / "adapter_model.safetensors").write_bytes(bytes(200_000))
    small = tmp_path / "small"
    small.mkdir()
    code = (
        "import sys; from pathlib import Path; from flexlib.runs import store\n"
        "from flexlib.errors import FlexError\n"
        "runs, run_id, source = sys.argv[1:]\n"
        "try: store.save(Path(runs), run_id, Path(source))\n"
        "except FlexError as error: print(error)\n"
        "print(list(Path(runs).iterdir()))"
    )
    mount = ["bwrap", "--dev-bind", "/", "/", "--size", "65536", "--tmpfs", small]
    done = subprocess.run(
        [*mount, sys.executable, "-c", code, small / "runs", run_id, source],
        check=True,
        capture_output=True,
        text=True,
        cwd=paths.ROOT,
    )
    message, left = done.stdout.splitlines()
    assert message.startswith(f"no space left in {small / 'runs'}; free some")
    assert left == "[]"


def test_abandoned_copies_are_cleared_away(runs, tmp_path):
    old, young = runs / ".aaa.1.tmp", runs / ".bbb.2.tmp"
    for folder in (old, young):
        folder.mkdir()
    long_ago = time.time() - 10 * 86_400
    os.utime(old, (long_ago, long_ago))
    store.save(runs, *finished(tmp_path / "more", seed=9))
    assert (old.exists(), young.exists()) == (False, True)


def test_training_stored_without_later_columns_is_read(tmp_path):
    """A run stored before passes and unclipped were recorded."""
    run_id, source = finished(tmp_path)
    old = [f for f in formats.TRAINING_FIELDS if f not in ("passes", "unclipped", "curvature_norm")]
    rows = [{"step": 0, "eval_loss": 2.5}, {"step": 1, "loss": 2.0}]
    (source / "training.csv").write_bytes(formats.to_csv(old, rows))
    store.save(tmp_path / "runs", run_id, source)
    table = store.training(tmp_path / "runs")
    assert table["eval_loss"].tolist()[0] == 2.5
    assert table[["passes", "unclipped", "curvature_norm"]].isna().all(axis=None)


def test_a_validation_loss_that_is_no_number_is_infinite_and_not_missing(tmp_path):
    run_id, source = finished(tmp_path)
    losses = [{"eval_loss": 2.5}, {}, {"eval_loss": float("nan")}, {"eval_loss": float("inf")}]
    rows = [{"step": step, **loss} for step, loss in enumerate(losses)]
    (source / "training.csv").write_bytes(formats.to_csv(formats.TRAINING_FIELDS, rows))
    store.save(tmp_path / "runs", run_id, source)
    table = store.training(tmp_path / "runs")
    assert table["eval_loss"].fillna(-1).tolist() == [2.5, -1, float("inf"), float("inf")]


# --- new verdicts -------------------------------------------------------------------------------


def test_replaced_verdicts_are_read_and_noted(runs):
    run = lora_run(runs)
    rows = [{**VERDICTS[0], "verdict": "timeout", "passed": False}, VERDICTS[1]]
    store.replace_verdicts(run, {"nanobench-java": rows}, {"utc": "now"})
    assert store.read_verdicts(run, "nanobench-java")[0]["verdict"] == "timeout"
    assert store.read_provenance(run)["regraded"] == [{"utc": "now"}]
    assert store.read_verdicts(run, "nanobench-python")[0]["verdict"] == "pass"


# --- compact runs ---------------------------------------------------------------------------------


def test_a_compact_run_has_no_bulk_and_the_digests_of_it(tmp_path):
    run_id, source = finished(tmp_path)
    run = store.save(tmp_path / "runs", run_id, source)
    assert not store.is_compact(run)
    complete = store.read_provenance(run)["files"]
    store.compact(run)
    assert store.is_compact(run)
    bulk = {n for n in complete if n.startswith(("completions", "adapter"))}
    assert {p.name for p in run.iterdir()} == {*complete, "provenance.json"} - bulk
    provenance = store.read_provenance(run)
    assert set(provenance["dropped"]) == {
        "adapter/adapter_model.safetensors",
        "completions-nanobench-java.ndjson.gz",
        "completions-nanobench-python.ndjson.gz",
    }
    assert provenance["files"] | provenance["dropped"] == complete
    store.compact(run)  # again changes nothing
    assert store.read_provenance(run) == provenance


def test_a_compact_run_is_read_like_any_other_but_for_its_bulk(tmp_path):
    run_id, source = finished(tmp_path)
    run, whole = (store.save(tmp_path / name, run_id, source) for name in ("runs", "whole"))
    store.compact(run)
    assert store.has(tmp_path / "runs", run_id)
    for read in (store.verdicts, store.training, store.runs):
        assert read(tmp_path / "runs").equals(read(tmp_path / "whole"))
    with pytest.raises(FlexError, match="stored compactly, without completions-nanobench-java"):
        store.read_completions(run, "nanobench-java")
    # Its adapter cannot serve another run.
    data = store.read_config(whole)
    assert store.trained_alike(tmp_path / "whole", data) == whole
    assert store.trained_alike(tmp_path / "runs", data) is None


def adopting(folder: Path, owner: str, limit: int) -> tuple[str, Path]:
    """The work folder of a finished run with the adapter of another, and its id."""
    run_id, source = finished(folder, limit=limit)
    facts = {"seconds": {"generate": 1.5}, "adapter_from": owner}
    (source / "provenance.json").write_bytes(formats.to_json(facts))
    return run_id, source


def test_an_adopted_adapter_is_stored_once(tmp_path):
    runs = tmp_path / "runs"
    owner = store.save(runs, *finished(tmp_path))
    run = store.save(runs, *adopting(tmp_path, owner.name, limit=1))
    name = "adapter/adapter_model.safetensors"
    assert not (run / "adapter").exists()
    kept, provenance = store.read_provenance(owner)["files"], store.read_provenance(run)
    assert provenance["dropped"] == {name: kept[name]} and name not in provenance["files"]
    assert store.adapter_folder(run) == store.adapter_folder(owner) == owner / "adapter"
    # In all else it is whole: its answers can be read, graded again and shown.
    assert not store.is_compact(run) and store.has(runs, run.name)
    assert store.read_completions(run, "nanobench-java") == COMPLETIONS
    store.compact(run)
    assert store.is_compact(run) and store.adapter_folder(run) == owner / "adapter"
    assert len(store.read_provenance(run)["dropped"]) == 3
    base = store.save(runs, *finished(tmp_path, "base", 0))
    assert store.adapter_folder(base) is None


def test_no_run_adopts_from_one_whose_adapter_was_dropped(tmp_path):
    runs = tmp_path / "runs"
    owner = store.save(runs, *finished(tmp_path))
    data = store.read_config(owner)
    # Runs are looked through by name: one that comes before the owner, and one after it.
    adopters = []
    while len({run.name < owner.name for run in adopters}) < 2:
        made = adopting(tmp_path, owner.name, limit=len(adopters) + 1)
        adopters.append(store.save(runs, *made))
        assert store.trained_alike(runs, data) == owner
    shutil.rmtree(owner)
    assert store.trained_alike(runs, data) is None


@pytest.mark.parametrize("loss", ["gone", "another", "damaged", "compact"])
def test_an_adapter_that_its_owner_lost_stays_with_the_run_that_adopted_it(tmp_path, loss):
    runs = tmp_path / "runs"
    owner = store.save(runs, *finished(tmp_path))
    work = adopting(tmp_path, owner.name, limit=1)
    weights = owner / "adapter" / "adapter_model.safetensors"
    if loss == "another":  # made again elsewhere, with other rounding
        shutil.rmtree(owner)
        run_id, source = finished(tmp_path / "again")
        (source / "adapter" / weights.name).write_bytes(b"others")
        store.save(runs, run_id, source)
    else:
        damage = {
            "gone": lambda: shutil.rmtree(owner),
            "damaged": lambda: weights.write_bytes(b"wei"),
            "compact": lambda: store.compact(owner),
        }
        damage[loss]()
    run = store.save(runs, *work)
    assert (run / "adapter" / weights.name).read_bytes() == b"weights"
    assert "dropped" not in store.read_provenance(run)
    assert store.adapter_folder(run) == run / "adapter"


def test_a_run_whose_adapter_is_nowhere_says_in_one_line_where_it_was(tmp_path):
    runs = tmp_path / "runs"
    owner = store.save(runs, *finished(tmp_path))
    run = store.save(runs, *adopting(tmp_path, owner.name, limit=1))
    shutil.rmtree(owner)
    with pytest.raises(FlexError, match=f"is that of run {owner.name}, which .* not have") as error:
        store.adapter_folder(run)
    assert "\n" not in str(error.value)
    assert store.has(runs, run.name)  # its verdicts do not depend on it


def test_a_compact_run_keeps_the_adapter_that_another_adopted(tmp_path):
    runs = tmp_path / "runs"
    owner = store.save(runs, *finished(tmp_path))
    run = store.save(runs, *adopting(tmp_path, owner.name, limit=1))
    store.compact(owner)
    assert store.is_compact(owner) and not list(owner.glob("completions-*"))
    assert store.adapter_folder(run) == store.adapter_folder(owner) == owner / "adapter"
    assert store.has(runs, owner.name)


def test_killed_while_it_is_made_compact_a_run_is_whole_or_compact(tmp_path, monkeypatch):
    run = store.save(tmp_path / "runs", *finished(tmp_path))
    monkeypatch.setattr(Path, "unlink", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.compact(run)
    monkeypatch.undo()
    assert store.is_compact(run) and store.has(tmp_path / "runs", run.name)
    store.compact(run)
    assert not (run / "adapter").exists() and not list(run.glob("completions-*"))
    assert len(store.read_provenance(run)["dropped"]) == 3


@pytest.mark.parametrize("name", ["training.csv", "verdicts-nanobench-java.csv"])
def test_what_a_compact_run_must_have_is_missed(tmp_path, name):
    run = store.save(tmp_path / "runs", *finished(tmp_path))
    store.compact(run)
    (run / name).unlink()
    with pytest.raises(FlexError, match=f"{name} is missing"):
        store.read_config(run)
