"""The results: one folder a run, written whole or not at all, checked when read.

::

    data/runs/<run-id>/
        config.json                        what was run; its hash is <run-id> (flexlib.config.run_id)
        provenance.json                    with what and when; sha256 of every other file here
        training.csv                       loss curve (arms that train)
        adapter/                           LoRA weights, PEFT format (arms that train; audited adapters)
        <analysis>.csv.gz                  what was computed from the run later (flexlib.analysis)
        completions-<benchmark>.ndjson.gz  one line a program: task_id, sample, completion, tokens, truncated
        verdicts-<benchmark>.csv           one line a program: task_id, sample, verdict, passed, detail

A run that was made compact, as those of a sweep are, has neither adapter nor completions; their sha256 are
in ``dropped`` of its provenance. So are those of the adapter of a run that adopted another run's
(``adapter_from``): it is stored once, there (:func:`adapter_folder`).

A folder appears by one rename, when everything in it is on disk. Names that begin with a dot are
work in progress and never read.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import math
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlib import config as configs
from flexlib import disk, paths
from flexlib.errors import FlexError
from flexlib.formats import TRAINING_FIELDS, VERDICT_FIELDS, to_csv, to_json
from flexlib.runs import derived

if TYPE_CHECKING:
    import pandas as pd

_KEYS = ["run_id", "profile", "arm", "seed"]
_ADAPTER = "adapter/"  # what the names of its files begin with


# --- writing ------------------------------------------------------------------------------------


def save(store: Path, run_id: str, source: Path) -> Path:
    """Copy a finished run's folder into the store, by one rename.

    ``source`` holds the files of the layout above; ``files`` of its provenance is filled here. An adopted
    adapter is left out, if the run that it is from still has it. If another process has stored the same
    run meanwhile, its copy stays.

    Raises:
        FlexError: no space left; nothing half-written remains.
    """
    target = store / run_id
    with disk.full_disk_is_an_error(store), disk.folder_atomically(target) as folder:
        # Without what a process left aside that was killed while writing.
        left = shutil.ignore_patterns(".*.tmp")
        shutil.copytree(source, folder, ignore=left, dirs_exist_ok=True)
        provenance = _read_json(folder / "provenance.json")
        provenance["files"] = _digests(folder)
        adapter = {n: d for n, d in provenance["files"].items() if n.startswith(_ADAPTER)}
        owner = provenance.get("adapter_from")
        if adapter and owner and _has_files(store / owner, adapter):
            shutil.rmtree(folder / "adapter")
            provenance["dropped"] = {name: provenance["files"].pop(name) for name in adapter}
        (folder / "provenance.json").write_bytes(to_json(provenance))
    return target


def replace_verdicts(
    run: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], note: Mapping[str, Any]
) -> None:
    """Write new verdicts of a stored run, by benchmark, and note in its provenance who made them.

    A process killed between the two writes leaves a run that reads as corrupt until it is regraded.
    """
    files = {
        f"verdicts-{benchmark}.csv": to_csv(VERDICT_FIELDS, verdict_rows)
        for benchmark, verdict_rows in rows.items()
    }
    with _changing(run, files) as provenance:
        provenance.setdefault("regraded", []).append(dict(note))


def attach(run: Path, analysis: str, content: bytes, note: Mapping[str, Any]) -> None:
    """Add the table of an analysis to a stored run, or exchange it, and note in its provenance with
    what it was made.

    A process killed between the two writes leaves a run that is whole but for this table.
    """
    with _changing(run, {f"{analysis}.csv.gz": content}) as provenance:
        provenance.setdefault("analyses", {})[analysis] = dict(note)


def compact(run: Path) -> None:
    """Drop adapter and completions of a stored run; verdicts, curve and analyses stay, and in its
    provenance the sha256 of what is dropped. An adapter that other runs adopted stays too: it is theirs.

    A process killed before the files are gone leaves some, which are not read; the next call removes
    them.
    """
    with _changing(run, {}) as provenance:
        adapter = [] if _is_adopted(run) else run.glob("adapter/*")
        bulk = [*adapter, *run.glob("completions-*")]
        dropped = provenance.setdefault("dropped", {})
        for path in bulk:
            name = path.relative_to(run).as_posix()
            if name in provenance["files"]:
                dropped[name] = provenance["files"].pop(name)
    for path in bulk:
        path.unlink(missing_ok=True)  # another process may be at it
    with contextlib.suppress(OSError):  # it is not there, or adopted and not empty
        (run / "adapter").rmdir()


@contextlib.contextmanager
def _changing(run: Path, files: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    """Write files of a stored run, then its provenance, which the block completes. One process at a
    time: another's note is not lost."""
    with disk.full_disk_is_an_error(run), disk.lock(run.with_name(f".{run.name}.lock")):
        provenance = _read_json(run / "provenance.json")
        yield provenance
        for name, content in files.items():
            disk.write_atomically(run / name, content)
            provenance["files"][name] = hashlib.sha256(content).hexdigest()
        disk.write_atomically(run / "provenance.json", to_json(provenance))


# --- reading ------------------------------------------------------------------------------------


def has(store: Path, run_id: str) -> bool:
    """Whether the store holds this run, whole.

    Raises:
        FlexError: it is there, but corrupt.
    """
    if not (store / run_id).exists():
        return False
    read_config(store / run_id)
    return True


def trained_alike(store: Path, config: Mapping[str, Any]) -> Path | None:
    """A stored run with the adapter that training by ``config`` would give: the same base, data, method
    and seed, whatever it was decoded with. None if there is none.

    Fifteen decodings of one adapter are fifteen runs, and one training.
    """
    wanted = configs.training_identity(config)
    for run in run_folders(store):
        with contextlib.suppress(FlexError):  # a corrupt run is no reason to stop another one
            stored = read_config(run)
            if "training" in stored and configs.training_identity(stored) == wanted:
                for name in ("training.csv", "adapter/adapter_model.safetensors"):
                    _verified(run, name)
                return run
    return None


def run_folders(store: Path | None = None) -> list[Path]:
    """The folders of the stored runs, by name."""
    store = Path(store or paths.RUNS)
    if not store.is_dir():
        return []
    return sorted(p for p in store.iterdir() if p.is_dir() and not p.name.startswith("."))


def select(store: Path, run_ids: Iterable[str] = ()) -> list[Path]:
    """The folders of these runs, or of all.

    Raises:
        FlexError: there is no such run.
    """
    folders = {run.name: run for run in run_folders(store)}
    for run_id in run_ids:
        if run_id not in folders:
            raise FlexError(f"no run {run_id!r} in {store}; the store has {len(folders)} runs")
    return [folders[run_id] for run_id in run_ids or folders]


def read_config(run: Path) -> dict[str, Any]:
    """The configuration of a stored run, once its hash agrees with the folder's name.

    Raises:
        FlexError: the run is half-written or corrupt.
    """
    config, provenance = _read_json(run / "config.json"), _read_json(run / "provenance.json")
    if configs.run_id(config) != run.name:
        raise _corrupt(run, "config.json does not hash to the folder's name")
    expected = ["config.json"]
    for name in config["benchmarks"]:
        expected += [completions_name(name), f"verdicts-{name}.csv"]
    expected += ["training.csv"] if "training" in config else []
    if "training" in config or "adapter_digest" in config:
        expected.append("adapter/adapter_model.safetensors")
    dropped = provenance.get("dropped", {})
    for name in (n for n in expected if n not in dropped):
        if name not in provenance.get("files", {}) or not (run / name).is_file():
            raise _corrupt(run, f"{name} is missing")
    return config


def completions_name(benchmark: str) -> str:
    """The file of a run's answers on a benchmark. It is not called .jsonl.gz, lest an answer file be taken
    for the benchmark: HumanEval's own is HumanEval.jsonl.gz."""
    return f"completions-{benchmark}.ndjson.gz"


def is_compact(run: Path) -> bool:
    """Whether a stored run has been made compact: its completions were dropped."""
    dropped = read_provenance(run).get("dropped", {})
    return any(name.startswith("completions-") for name in dropped)


def adapter_folder(run: Path) -> Path | None:
    """Where the adapter of a stored run lies: in the run, or in the one that it was adopted from. None if it
    has none, as a base.

    Raises:
        FlexError: it was dropped, as that of a compact run, and no run of the store has it.
    """
    provenance = read_provenance(run)
    dropped = {n: d for n, d in provenance.get("dropped", {}).items() if n.startswith(_ADAPTER)}
    if not dropped:
        return run / "adapter" if (run / "adapter").is_dir() else None
    owner = provenance.get("adapter_from")
    if not owner:
        raise FlexError(f"run {run.name} has no adapter; it was stored compactly")
    if not _has_files(run.parent / owner, dropped):
        raise FlexError(
            f"the adapter of run {run.name} is that of run {owner}, which {run.parent} does not have, or "
            f"not as it was; bring {owner} back, or remove {run} and make the run again"
        )
    return run.parent / owner / "adapter"


def read_provenance(run: Path) -> dict[str, Any]:
    """With what, when and how long a stored run was made.

    Raises:
        FlexError: the run is half-written or corrupt.
    """
    return _read_json(run / "provenance.json")


def read_completions(run: Path, benchmark: str) -> list[dict[str, Any]]:
    """The programs of a stored run, as generated.

    Raises:
        FlexError: the file is missing or was altered.
    """
    content = _verified(run, completions_name(benchmark))
    # Only \n ends a row: splitlines would also cut at the U+2028 that a model may write.
    return [json.loads(line) for line in gzip.decompress(content).decode().split("\n") if line]


def read_verdicts(run: Path, benchmark: str) -> list[dict[str, str]]:
    """The rows of a verdicts file, as text.

    Raises:
        FlexError: the file is missing or was altered.
    """
    content = _verified(run, f"verdicts-{benchmark}.csv").decode()
    return list(csv.DictReader(io.StringIO(content, newline="")))


def runs(store: Path | None = None, *, profile: str | None = None) -> pd.DataFrame:
    """One row a run: run_id, profile, arm, seed, then every setting and every fact of provenance.

    Settings are named as in ``--set`` (``training.learning_rate``), provenance as in its file
    (``packages.torch``). ``arm`` carries the overrides of a run that has any, so that grouping by
    arm never mixes two configurations.

    Raises:
        FlexError: a run is corrupt, or two runs claim the same profile, arm and seed.
    """
    import pandas as pd

    rows = [
        {
            **keys,
            **_flat(_today(config), skip=_KEYS),
            **_flat(read_provenance(run), skip=["files", "analyses", "dropped"]),
        }
        for run, keys, config in _identified(store, profile)
    ]
    return pd.DataFrame(rows, columns=None if rows else _KEYS)


def verdicts(store: Path | None = None, *, profile: str | None = None) -> pd.DataFrame:
    """One row a program: run_id, profile, arm, seed, benchmark, language, task_id, sample, verdict,
    passed, detail.

    Raises:
        FlexError: as :func:`runs`.
    """
    return derived.kept(
        "verdicts", store, profile, lambda: _verdict_frame(_identified(store, profile))
    )


def verdicts_of(run: Path) -> pd.DataFrame:
    """The verdicts of one stored run, in the columns of :func:`verdicts`."""
    config = read_config(run)
    return _verdict_frame([(run, _keys_of(run, config), config)])


def training(store: Path | None = None, *, profile: str | None = None) -> pd.DataFrame:
    """One row an optimiser step: run_id, profile, arm, seed, step, epoch, tokens (seen so far,
    without padding), loss (nats a token, as trained on), eval_loss, lr, grad_norm (before clipping),
    ce and penalty (the parts of the loss; the penalty is missing in runs that have none), passes
    (forward and backward passes over a batch so far, those for curvature included), unclipped and
    curvature_norm (of SophiaG: :meth:`flexlib.training.optimizers.sophia.SophiaG.diagnostics`).

    Step 0 holds the validation loss before training. What a run did not record is missing (NaN); a
    validation loss that was computed and is no number, as of a run that diverged, is infinite.

    Raises:
        FlexError: as :func:`runs`.
    """
    return derived.kept("training", store, profile, lambda: _training(store, profile))


def tables(
    name: str, fields: Sequence[str], store: Path | None = None, *, profile: str | None = None
) -> pd.DataFrame:
    """A table that runs may have, such as that of an analysis: run_id, profile, arm, seed, then
    ``fields``. Runs without it are left out.

    Raises:
        FlexError: as :func:`runs`.
    """
    asked = (profile, tuple(fields))
    return derived.kept(
        name.partition(".")[0], store, asked, lambda: _tables(name, fields, store, profile)
    )


# --- details ------------------------------------------------------------------------------------


_Identified = tuple[Path, dict[str, Any], dict[str, Any]]  # folder, key columns, configuration


def _identified(store: Path | None, profile: str | None) -> Iterator[_Identified]:
    """Every stored run, of one profile or all."""
    seen: dict[tuple, str] = {}
    for run in run_folders(store):
        config = read_config(run)
        if profile is not None and config["profile"] != profile:
            continue
        keys = _keys_of(run, config)
        same = (keys["profile"], keys["arm"], keys["seed"])
        if same in seen:
            raise FlexError(
                f"runs {seen[same]} and {run.name} are both {same[0]} {same[1]} seed {same[2]}; "
                f"remove the stale one from {run.parent}"
            )
        seen[same] = run.name
        yield run, keys, config


def _keys_of(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    arm = configs.label_of(config)
    return {"run_id": run.name, "profile": config["profile"], "arm": arm, "seed": config["seed"]}


def _verdict_frame(identified: Iterable[_Identified]) -> pd.DataFrame:
    import pandas as pd

    frames = [
        (
            {**keys, "benchmark": name, "language": settings["language"]},
            pd.DataFrame(read_verdicts(run, name), columns=VERDICT_FIELDS),
        )
        for run, keys, config in identified
        for name, settings in config["benchmarks"].items()
    ]
    frame = _stacked(frames, VERDICT_FIELDS, keys=[*_KEYS, "benchmark", "language"])
    frame = frame.assign(sample=frame["sample"].astype(int), passed=frame["passed"] == "True")
    # Texts that are repeated a thousand times: as categories they are quicker to choose rows of.
    return frame.astype(dict.fromkeys(("run_id", "profile", "task_id", "verdict"), "category"))


def _training(store: Path | None, profile: str | None) -> pd.DataFrame:
    table = _stacked(
        [
            (keys, _read_frame(run, "training.csv", TRAINING_FIELDS))
            for run, keys, config in _identified(store, profile)
            if "training" in config
        ],
        TRAINING_FIELDS,
    )
    return table.assign(ce=table["ce"].fillna(table["loss"].where(table["penalty"].isna())))


def _tables(
    name: str, fields: Sequence[str], store: Path | None, profile: str | None
) -> pd.DataFrame:
    return _stacked(
        [
            (keys, _read_frame(run, name, fields))
            for run, keys, _ in _identified(store, profile)
            if name in read_provenance(run)["files"]
        ],
        fields,
    )


def _stacked(
    frames: Sequence[tuple[Mapping[str, Any], pd.DataFrame]],
    fields: Sequence[str],
    keys: Sequence[str] = _KEYS,
) -> pd.DataFrame:
    """The tables of several runs, below one another, with the keys of each run in its rows."""
    import numpy as np
    import pandas as pd

    columns = [*keys, *fields]
    if not frames:
        return pd.DataFrame(columns=columns)
    table = pd.concat([frame for _, frame in frames], ignore_index=True)
    lengths = [len(frame) for _, frame in frames]
    of_run = {key: np.repeat([values[key] for values, _ in frames], lengths) for key in keys}
    return table.assign(**of_run)[columns]


def _read_frame(run: Path, name: str, fields: Sequence[str]) -> pd.DataFrame:
    """A table of a run; fields that it was stored without are missing values."""
    import pandas as pd

    content = _verified(run, name)
    content = gzip.decompress(content) if name.endswith(".gz") else content
    converters = {"eval_loss": _validation_loss}
    return pd.read_csv(io.BytesIO(content), converters=converters).reindex(columns=list(fields))


def _validation_loss(text: str) -> float:
    """NaN of an empty cell, at a step without one. A loss that is NaN would be dropped with these."""
    if not text:
        return math.nan
    loss = float(text)
    return math.inf if math.isnan(loss) else loss


def _has_files(run: Path, digests: Mapping[str, str]) -> bool:
    """Whether a run is there and has these files, by name, with these sha256."""
    try:
        return all(
            hashlib.sha256(_verified(run, name)).hexdigest() == digest
            for name, digest in digests.items()
        )
    except FlexError:
        return False


def _is_adopted(run: Path) -> bool:
    """Whether another run's adapter is stored in this one alone."""
    for other in run_folders(run.parent):
        with contextlib.suppress(FlexError):  # a corrupt run has no say
            provenance = read_provenance(other)
            dropped = any(name.startswith(_ADAPTER) for name in provenance.get("dropped", {}))
            if dropped and provenance.get("adapter_from") == run.name:
                return True
    return False


def _corrupt(run: Path, why: str) -> FlexError:
    return FlexError(f"run {run.name} is corrupt ({why}); remove {run} and run it again")


def command(what: str, run: Path) -> str:
    """``flexlib what`` on a stored run, as it is to be given: it names the store where that is not the
    project's own."""
    where = "" if run.parent == paths.RUNS else f" --store {shlex.quote(str(run.parent))}"
    return f"flexlib {what} {run.name}{where}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise _corrupt(path.parent, f"{path.name} is missing or cut short") from None
    if not isinstance(data, dict):
        raise _corrupt(path.parent, f"{path.name} holds no object")
    return data


def _verified(run: Path, name: str) -> bytes:
    """A file's content, once it agrees with the digest in the provenance."""
    if name in read_provenance(run).get("dropped", {}):
        raise FlexError(
            f"run {run.name} was stored compactly, without {name}; to have it, remove {run} and make "
            "the run again without --compact"
        )
    try:
        content = (run / name).read_bytes()
    except OSError:
        raise _corrupt(run, f"{name} is missing") from None
    if hashlib.sha256(content).hexdigest() != read_provenance(run).get("files", {}).get(name):
        why = f"{name} was altered or cut short"
        if name.startswith("verdicts-"):
            raise FlexError(f"run {run.name}: {why}; `{command('regrade', run)}` rebuilds it")
        if name.endswith(".csv.gz"):
            again = command(f"analyse {name.removesuffix('.csv.gz')}", run)
            raise FlexError(f"run {run.name}: {why}; `{again} --again` rebuilds it")
        raise _corrupt(run, why)
    return content


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "provenance.json"
    }


def _today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration in today's words."""
    adapter = configs.adapter_of(config)
    others = {key: value for key, value in config.items() if key != "lora"}
    return {**others, "adapter": adapter} if adapter else others


def _flat(data: Mapping[str, Any], prefix: str = "", skip: Iterable[str] = ()) -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if key in skip:
            continue
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
