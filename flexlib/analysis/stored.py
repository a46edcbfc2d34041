"""What is computed from stored runs: one row of :data:`ANALYSES` each.

An analysis reads a stored run and adds one table to it, ``<name>.csv.gz``. It comes after the store:
it can be made later, again, or for all runs at once (``flexlib analyse NAME``), and where it fails the
run is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlib import formats
from flexlib.errors import FlexError
from flexlib.runs import provenance, store
from flexlib.runs.machine import Machine

if TYPE_CHECKING:
    import pandas as pd

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    Attributes:
        fields: the columns of its table.
        function: from the folder of a run, on a machine, to the rows; None if the run has nothing to
            analyse, such as an adapter. Raises FlexError if it is not defined for what the run has.
        automatic: whether `flexlib run` makes it for each new run.
    """

    fields: tuple[str, ...]
    function: Callable[[Path, Machine], Rows | None]
    automatic: bool = False


def _spectra(run: Path, machine: Machine) -> Rows | None:
    from flexlib.analysis import spectra  # torch is slow to import

    return spectra.of_run(run)


def _fences(run: Path, machine: Machine) -> Rows | None:
    from flexlib.analysis import fences

    return fences.of_run(run, machine)


def _representations(run: Path, machine: Machine) -> Rows | None:
    from flexlib.analysis import representations

    return representations.of_run(run, machine)


def _languages(run: Path, machine: Machine) -> Rows | None:
    from flexlib.analysis import representations

    return representations.of_languages(run, machine)


ANALYSES = {
    "fences": Analysis(
        fields=("benchmark", "task_id", "sample", "verdict", "passed"),
        function=_fences,
        automatic=True,
    ),
    "spectra": Analysis(
        fields=(
            *("module", "layer", "projection", "part", "quantity", "x", "value"),
            *("permuted_mean", "permuted_sd", "random_mean", "random_sd"),
        ),
        function=_spectra,
        automatic=True,
    ),
    "representations": Analysis(
        fields=("state", "layer", "quantity", "value", "null"),
        function=_representations,
        automatic=True,
    ),
    "languages": Analysis(
        fields=("first", "second", "layer", "quantity", "value", "null"),
        function=_languages,
    ),
}


def analyse(
    name: str, machine: Machine | None = None, run_ids: Iterable[str] = (), *, again: bool = False
) -> Iterator[tuple[str, str]]:
    """Make an analysis of the machine's stored runs (all without ``run_ids``) that do not have it, or
    ``again``.

    Yields the id of each run and what became of it: ``made``, ``there already`` or why there is nothing.

    Raises:
        FlexError: no such analysis, no such run, or a corrupt one.
    """
    analysis, machine = _find(name), machine or Machine()
    for run in store.select(machine.store, run_ids):
        yield run.name, _analyse(name, analysis, run, machine, again)


def read(name: str, folder: Path | None = None, *, profile: str | None = None) -> pd.DataFrame:
    """The table of an analysis over all runs that have it: run_id, profile, arm, seed, then its fields.

    Raises:
        FlexError: no such analysis, or as :func:`flexlib.runs.store.runs`.
    """
    return store.tables(f"{name}.csv.gz", _find(name).fields, folder, profile=profile)


def _find(name: str) -> Analysis:
    if name not in ANALYSES:
        raise FlexError(f"no analysis {name!r}; there are {', '.join(ANALYSES)}")
    return ANALYSES[name]


def _analyse(name: str, analysis: Analysis, run: Path, machine: Machine, again: bool) -> str:
    store.read_config(run)  # not of a corrupt run
    file = f"{name}.csv.gz"
    if file in store.read_provenance(run)["files"] and not again:
        return "there already"
    try:
        rows = analysis.function(run, machine)
    except FlexError as error:
        return f"not defined: {error}"
    if rows is None:
        return "nothing to analyse"
    note = provenance.describe("cpu")
    note = {key: note[key] for key in ("utc", "git", "packages")}
    store.attach(run, name, formats.to_csv_gz(analysis.fields, rows), note)
    return "made"
