"""Spectra of adapters: energy by frequency, singular values and ranks of B A, from the factors alone.

A spectrum says nothing by itself. So every share of energy comes with what two nulls have there, as
mean and standard deviation over draws:

``permuted``
    the same adapter with its indices of outputs and inputs renumbered at random: has the order
    of the index anything to do with it?
``random``
    normal random factors of the same shapes, hence the same rank, scaled to the same norm: has
    training?

Singular values do not change under a permutation, so they have the second null only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from flexlib import paths
from flexlib.analysis import stored
from flexlib.errors import FlexError
from flexlib.runs import derived, store
from flexlib.training import fourier
from flexlib.training.fourier import Factors

BANDS = 12  # equal widths of frequency, so that one ends at the released threshold 0.5
DRAWS = 40  # of each null: its mean is known to a sixth of its standard deviation
_BOUNDS = [k / BANDS for k in range(1, BANDS)]
_RADII = [k / BANDS for k in range(1, BANDS + 1)] + [math.sqrt(2)]

Profile = tuple[str, float | None]  # quantity, x


def of_run(run: Path) -> list[dict[str, Any]] | None:
    """The spectra of a stored run's adapter; None if it has none.

    Raises:
        FlexError: its adapter has no factors A and B, or was not kept.
    """
    adapter = store.adapter_folder(run)
    return of_factors(read_adapter(adapter)) if adapter else None


def of_factors(
    factors: Sequence[Factors], *, draws: int = DRAWS, seed: int = 0
) -> list[dict[str, Any]]:
    """Spectra of every module, one row a number, in the columns of the analysis ``spectra``.

    ``part`` is ``A`` or ``B``, the factor flattened as the factor penalty sees it, or ``delta``, the
    update ``scaling * B @ A``. ``quantity`` and ``x`` are

    - ``share``, of a factor's energy in the band of frequencies that ends at x (1 is Nyquist);
    - ``rank_share``, of the energy of B at frequency x of the DFT over the rank index, conjugates
      together (see :mod:`flexlib.training.layout`);
    - ``row_share``, ``column_share``: of the update's energy by frequency along outputs and inputs;
    - ``radial_share``: by hypot of both, in rings that end at x (the last one is the corners);
    - ``singular_value``: the x-th, 1 is the largest, in units of the update's norm;
    - ``effective_rank``: exp of the entropy of the normalised singular values (Roy and Vetterli 2007);
    - ``stable_rank``: squared Frobenius norm over squared spectral norm;
    - ``norm``: Frobenius norm.

    ``value`` is that of the adapter; ``permuted_mean``, ``permuted_sd``, ``random_mean`` and
    ``random_sd`` describe the nulls. An update of zero has its norm only.
    """
    rows = []
    for number, module in enumerate(factors):
        A, B = (m.detach().double().cpu() for m in (module.A, module.B))
        rng = torch.Generator().manual_seed(seed * 1_000_003 + number)
        identity = {
            "module": module.name,
            "layer": layer_of(module.name),
            "projection": module.name.rpartition(".")[2],
        }
        for part, quantity, x, value, nulls in _of_module(A, B, module.scaling, draws, rng):
            numbers = {"value": value} | nulls
            rows.append(
                {**identity, "part": part, "quantity": quantity}
                | {"x": None if x is None else f"{x:.5g}"}
                | {name: f"{number:.5g}" for name, number in numbers.items()}
            )
    return rows


def read_adapter(folder: Path) -> list[Factors]:
    """The factors of a stored adapter, in PEFT's format, in the order of layers.

    Raises:
        FlexError: there is none, as in a run that was stored compactly, or it is no LoRA of linear
            layers.
    """
    from safetensors.torch import load_file

    if not folder.is_dir():
        raise FlexError(
            f"run {folder.parent.name} has no adapter; it was stored compactly or untrained"
        )
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "adapter_model.safetensors")
    if config["peft_type"] != "LORA" or config.get("alpha_pattern"):
        raise FlexError(f"{folder} is no LoRA adapter with one alpha; its spectra are not defined")
    if config.get("use_dora"):
        raise FlexError(f"{folder} is a DoRA, whose update is not that of its factors alone")
    found = []
    for key, A in weights.items():
        name, is_a, _ = key.partition(".lora_A.weight")
        if not is_a:
            continue
        B = weights[f"{name}.lora_B.weight"]
        if A.ndim != 2:
            raise FlexError(f"{name} in {folder} is no linear layer; its spectra are not defined")
        root = math.sqrt(A.shape[0]) if config.get("use_rslora") else A.shape[0]
        name = name.removeprefix("base_model.model.")
        found.append(Factors(name, A, B, config["lora_alpha"] / root))
    if not found:
        raise FlexError(f"{folder} holds no LoRA factors of linear layers")
    return sorted(found, key=lambda f: (layer_of(f.name) or 0, f.name))


def layer_of(module: str) -> int | None:
    """The number in a module's name: ``model.layers.3.self_attn.q_proj`` is in layer 3."""
    found = re.search(r"\.(\d+)\.", module)
    return int(found[1]) if found else None


def by_layer(table: pd.DataFrame, keys: Sequence[str] = ("arm", "seed", "layer")) -> pd.DataFrame:
    """Shares of energy of several modules together: the means, weighted by the modules' energy.

    The nulls of different modules are independent, so that their variances add.

    Args:
        table: of `flexlib.analysis.read`, or rows of `of_factors` read as numbers.
        keys: what to keep apart; any columns of the table.

    Returns:
        ``keys``, part, quantity, x, value and the null columns.
    """
    module = [*dict.fromkeys([*(k for k in ("run_id",) if k in table), "module"])]
    norms = table.loc[table["quantity"] == "norm", [*module, "part", "value"]]
    norms = norms.rename(columns={"value": "weight"}).assign(weight=norms["value"] ** 2)
    shares = table[table["quantity"].str.endswith("share")].merge(norms, on=[*module, "part"])
    columns = ["value", "permuted_mean", "random_mean"]
    spreads = ["permuted_sd", "random_sd"]
    weight = shares["weight"]
    shares[columns] = shares[columns].mul(weight, axis=0)
    shares[spreads] = (shares[spreads].mul(weight, axis=0)) ** 2
    groups = [*keys, "part", "quantity", "x"]
    total = shares.groupby(groups, sort=False, dropna=False, observed=True)[
        [*columns, *spreads, "weight"]
    ].sum()
    for name in columns:
        total[name] /= total["weight"]
    for name in spreads:
        total[name] = np.sqrt(total[name]) / total["weight"]
    return total.drop(columns="weight").reset_index()


def ratios(table: pd.DataFrame, null: str = "permuted", z: float = 1.96) -> pd.DataFrame:
    """The table with ``ratio``, value over the null's mean, and ``null_low``, ``null_high``: the null's
    own spread (normal, 95 % by default) on the same scale. Rows without this null are dropped."""
    mean, sd = table[f"{null}_mean"], table[f"{null}_sd"]
    spread = z * sd / mean
    found = table.assign(
        ratio=table["value"] / mean, null_low=1 - spread, null_high=1 + spread, null=null
    )
    return found[mean.notna() & (mean > 0)]


def sizes(table: pd.DataFrame) -> pd.DataFrame:
    """How large the update of each run is: ``run_id, profile, arm, seed``, ``norm`` (Frobenius, of all
    modules together) and ``effective_rank`` (mean over modules).

    Args:
        table: of the analysis ``spectra``.
    """
    keys = ["run_id", "profile", "arm", "seed"]
    delta = table[table["part"] == "delta"]
    norms, ranks = (delta[delta["quantity"] == q] for q in ("norm", "effective_rank"))
    squares = norms.assign(norm=norms["value"] ** 2).groupby(keys, sort=False)["norm"].sum()
    means = ranks.groupby(keys, sort=False)["value"].mean()
    return pd.concat([np.sqrt(squares), means.rename("effective_rank")], axis=1).reset_index()


def rank_shares(folder: Path | None = None, *, profile: str | None = None) -> pd.DataFrame:
    """Energy of B by rank frequency in each stored run: ``run_id, profile, arm, seed, x, value``, the
    mean over modules of the ``rank_share`` of :func:`of_factors`.

    Runs that were stored before it was a part of their spectra have it computed from their adapters.

    Raises:
        FlexError: a run is corrupt.
    """
    return derived.kept("rank-shares", folder, profile, lambda: _rank_shares(folder, profile))


# --- all runs -----------------------------------------------------------------------------------


def _rank_shares(folder: Path | None, profile: str | None) -> pd.DataFrame:
    keys = ["run_id", "profile", "arm", "seed"]
    table = stored.read("spectra", folder, profile=profile)
    known = table[table["quantity"] == "rank_share"]
    frames = [known.groupby([*keys, "x"], sort=False)["value"].mean().reset_index()]
    older = table[~table["run_id"].isin(known["run_id"])]
    for run in older[keys].drop_duplicates().to_dict("records"):
        place = Path(folder or paths.RUNS) / run["run_id"]
        modules = read_adapter(store.adapter_folder(place) or place / "adapter")
        profiles = [_rank_profile(f.B[None].double()) for f in modules if f.B.any()]
        shares = pd.DataFrame({x: float(v[0]) for (_, x), v in p.items()} for p in profiles).mean()
        frames.append(pd.DataFrame({**run, "x": shares.index, "value": shares.to_numpy()}))
    return pd.concat(frames, ignore_index=True)


# --- one module ---------------------------------------------------------------------------------


def _of_module(
    A: Tensor, B: Tensor, scaling: float, draws: int, rng: torch.Generator
) -> Iterator[tuple[str, str, float | None, float, dict[str, float]]]:
    """part, quantity, x, value and nulls of every number of one module."""
    for part, w in (("A", A.reshape(1, -1)), ("B", B.reshape(1, -1))):
        yield part, "norm", None, float(w.norm()), {}
        if w.any():
            permuted = w[0, _permutations(w.shape[-1], draws, rng)]
            drawn = torch.randn(permuted.shape, generator=rng, dtype=w.dtype)
            yield from _with_nulls(part, _factor_profile, (w,), (permuted,), (drawn,))
            if part == "B":
                yield from _with_nulls(
                    part,
                    _rank_profile,
                    (B[None],),
                    (permuted.reshape(-1, *B.shape),),
                    (drawn.reshape(-1, *B.shape),),
                )
    norm = float(scaling * fourier.energy(B.mT, A).sqrt())
    yield "delta", "norm", None, norm, {}
    if norm == 0:
        return
    rows, columns = B.mT[None], A[None]
    rank = A.shape[0]
    renumbered = [
        m[0][:, _permutations(m.shape[-1], draws, rng)].transpose(0, 1) for m in (rows, columns)
    ]
    random = [
        torch.randn(draws, rank, m.shape[-1], generator=rng, dtype=m.dtype) for m in (rows, columns)
    ]
    yield from _with_nulls("delta", _delta_profile, (rows, columns), renumbered, random)
    yield from _with_nulls("delta", _singular_profile, (rows, columns), None, random)


def _with_nulls(
    part: str,
    profile: Callable[..., dict[Profile, Tensor]],
    actual: Sequence[Tensor],
    permuted: Sequence[Tensor] | None,
    random: Sequence[Tensor],
) -> Iterator[tuple[str, str, float | None, float, dict[str, float]]]:
    found = profile(*actual)
    nulls = {"permuted": profile(*permuted) if permuted else {}, "random": profile(*random)}
    for (quantity, x), value in found.items():
        spread: dict[str, float] = {}
        for null, values in nulls.items():
            if (quantity, x) in values:
                draws = values[quantity, x]
                spread |= {f"{null}_mean": float(draws.mean()), f"{null}_sd": float(draws.std())}
        yield part, quantity, x, float(value[0]), spread


def _permutations(n: int, draws: int, rng: torch.Generator) -> Tensor:
    """(draws, n)"""
    return torch.rand(draws, n, generator=rng).argsort(-1)


def _factor_profile(w: Tensor) -> dict[Profile, Tensor]:
    """Shares of energy by band of flattened factors (draws, n)."""
    one = torch.ones(len(w), 1, 1, dtype=w.dtype)
    energy = fourier.band_energy(w[:, None], one, _BOUNDS)[..., 0]  # the one row's frequency is 0
    return _shares("share", [*_BOUNDS, 1.0], energy)


def _rank_profile(B: Tensor) -> dict[Profile, Tensor]:
    """Shares of energy by frequency along the last axis: (draws, m, rank)."""
    energy = torch.view_as_real(torch.fft.rfft(B, norm="ortho")).square().sum((-1, -3))
    rank = B.shape[-1]
    energy[..., 1 : (rank + 1) // 2] *= 2  # those that stand for a conjugate too
    return _shares("rank_share", fourier.frequencies(rank)[: rank // 2 + 1].tolist(), energy)


def _delta_profile(rows: Tensor, columns: Tensor) -> dict[Profile, Tensor]:
    """Shares of energy of B A by band and ring: (draws, rank, m), (draws, rank, n)."""
    bands = fourier.band_energy(rows, columns, _BOUNDS)
    rings = fourier.energy_within(rows, columns, _RADII)
    rings = rings.diff(dim=-1, prepend=torch.zeros_like(rings[..., :1]))
    ends = [*_BOUNDS, 1.0]
    return (
        _shares("row_share", ends, bands.sum(-1))
        | _shares("column_share", ends, bands.sum(-2))
        | _shares("radial_share", _RADII, rings)
    )


def _shares(quantity: str, ends: Sequence[float], energy: Tensor) -> dict[Profile, Tensor]:
    shares = energy / energy.sum(-1, keepdim=True)
    return {(quantity, end): shares[..., i] for i, end in enumerate(ends)}


def _singular_profile(rows: Tensor, columns: Tensor) -> dict[Profile, Tensor]:
    """Singular values and ranks of B A, by the SVD of the product of two triangular factors."""
    values = singular_values(columns, rows.mT)
    values = values / values.square().sum(-1, keepdim=True).sqrt()
    p = values / values.sum(-1, keepdim=True)
    return {("singular_value", i + 1): values[..., i] for i in range(values.shape[-1])} | {
        ("effective_rank", None): torch.special.entr(p).sum(-1).exp(),
        ("stable_rank", None): 1 / values[..., 0].square(),
    }


def singular_values(A: Tensor, B: Tensor) -> Tensor:
    """Of B A, largest first: (..., rank, n), (..., m, rank) -> (..., min(m, n, rank)).

    With B = Q R and A' = Q' R', B A = Q (R R'') Q'' has the singular values of the small middle.
    """
    R_B = torch.linalg.qr(B, mode="r").R
    R_A = torch.linalg.qr(A.mT, mode="r").R
    return torch.linalg.svdvals(R_B @ R_A.mT)
