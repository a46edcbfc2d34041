"""What became of the model: size, rank and spectra of the update, and directions that are new."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from flexlib import models
from flexlib.runs.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

SPECTRA = ("singular_value", "row_share", "column_share")  # of the update, shown against the null


def tables(
    adapter: Path, base: Path, machine: Machine, bases: models.BaseModels, precision: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What an adapter adds to the weights.

    Returns:
        One row a module: ``module, layer, projection, rank`` (of the factors), ``norm`` (Frobenius, of the
        update), ``relative_norm`` (over that of the base's weight), ``effective_rank``, ``stable_rank`` and
        the same of random factors of equal rank and norm (``random_effective_rank, random_stable_rank``),
        ``directions, intruders, random_intruders`` (:mod:`flexlib.analysis.intruders`). An update of zero
        has its norm only. And one row a quantity of `SPECTRA` and x,
        means over the modules: ``quantity, x, value, null`` (mean of the null), ``null_sd``; the null is
        the renumbered update for frequencies, random factors for singular values.

    Raises:
        FlexError: the adapter has no factors A and B whose product is the update.
    """
    from flexlib.analysis import intruders, spectra

    factors = spectra.read_adapter(adapter)
    numbers = pd.DataFrame(spectra.of_factors(factors))
    numeric = ["x", "value", *(c for c in numbers if c.endswith(("_mean", "_sd")))]
    numbers[numeric] = numbers[numeric].apply(pd.to_numeric)
    nulls = [f"{null}_{what}" for null in ("random", "permuted") for what in ("mean", "sd")]
    # An update of zero has none of them.
    delta = numbers[numbers["part"] == "delta"].reindex(columns=numbers.columns.union(nulls))
    device = models.pick_device(machine.device)
    changed = [f for f in factors if f.B.any() and f.A.any()]
    with bases.lend(base, precision, device, machine.attention) as model:
        norms = {
            f.name: float(model.get_submodule(f.name).weight.detach().float().norm())
            for f in factors
        }
        foreign = intruders.of_factors(changed, lambda name: _weight(model.get_submodule(name)))
    by_module = {row["module"]: row for row in foreign}
    rows = []
    for module in factors:
        own = delta[delta["module"] == module.name].set_index("quantity")
        row: dict[str, Any] = {
            "module": module.name,
            "layer": spectra.layer_of(module.name),
            "projection": module.name.rpartition(".")[2],
            "rank": module.A.shape[0],
            "norm": own.loc["norm", "value"],
            "relative_norm": own.loc["norm", "value"] / norms[module.name],
        }
        for quantity in ("effective_rank", "stable_rank"):
            known = quantity in own.index
            row[quantity] = own.loc[quantity, "value"] if known else None
            row[f"random_{quantity}"] = own.loc[quantity, "random_mean"] if known else None
        found = by_module.get(module.name, {})
        row["directions"], row["intruders"] = found.get("directions"), found.get("intruders")
        row["random_intruders"] = found.get("random")
        rows.append(row)
    return pd.DataFrame(rows), _spectrum(delta)


def _weight(module: Any) -> Tensor:
    """The weight of a linear module, (outputs, inputs). GPT-2's modules store it transposed."""
    from transformers.pytorch_utils import Conv1D

    return module.weight.mT if isinstance(module, Conv1D) else module.weight


def by_projection(modules: pd.DataFrame) -> pd.DataFrame:
    """The first of :func:`tables`, a row a projection: ``modules`` (their number), ``norm`` (Frobenius, of
    all together), the means of the other quantities, and the sums of ``directions`` and ``intruders``."""
    by = modules.groupby("projection", sort=False)
    means = [
        "relative_norm",
        "effective_rank",
        "random_effective_rank",
        "stable_rank",
        "random_stable_rank",
    ]
    sums = ["directions", "intruders", "random_intruders"]
    norm = by["norm"].agg(lambda v: math.sqrt((v**2).sum()))
    return pd.concat(
        [by.size().rename("modules"), norm, by[means].mean(), by[sums].sum()], axis=1
    ).reset_index()


def _spectrum(delta: pd.DataFrame) -> pd.DataFrame:
    """Means over modules; the nulls of different modules are independent, so that their variances add."""
    shown = delta[delta["quantity"].isin(SPECTRA)]
    renumbered = shown["quantity"] != "singular_value"
    shown = shown.assign(
        null=shown["random_mean"].mask(renumbered, shown["permuted_mean"]),
        null_sd=shown["random_sd"].mask(renumbered, shown["permuted_sd"]),
    )
    by = shown.groupby(["quantity", "x"], sort=False)
    spread = by["null_sd"].agg(lambda sd: math.sqrt((sd**2).sum()) / len(sd))
    return by[["value", "null"]].mean().assign(null_sd=spread).reset_index()


def merged_logits(
    adapter: Path,
    base: Path,
    machine: Machine,
    bases: models.BaseModels,
    prompts: list[list[int]],
    precision: Any,
) -> dict[str, Any]:
    """What merging does to the logits, by :func:`flexlib.analysis.merging.compare`."""
    from flexlib.analysis import merging

    device = models.pick_device(machine.device)
    with bases.lend(base, precision, device, machine.attention, adapter, spoils=True) as model:
        return merging.compare(model, prompts)
