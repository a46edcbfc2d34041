"""Spectra: the numbers of the materialised update, and nulls that behave as nulls."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import peft
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from flexlib import config, formats, models
from flexlib.analysis import ANALYSES, read, spectra
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.runs import store
from flexlib.training import fourier
from flexlib.training.fourier import Factors

NAMES = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"]


def draw(m: int = 20, n: int = 26, rank: int = 3, seed: int = 0, name: str = NAMES[0]) -> Factors:
    rng = torch.Generator().manual_seed(seed)
    A = torch.randn(rank, n, generator=rng, dtype=torch.float64)
    return Factors(name, A, torch.randn(m, rank, generator=rng, dtype=torch.float64), 2.0)


def smooth(f: Factors) -> Factors:
    """The same sizes, nearly all of the energy at low frequencies of outputs and inputs."""
    A, B = f.A.cumsum(1), f.B.cumsum(0)
    return Factors(f.name, A - A.mean(1, keepdim=True), B - B.mean(0, keepdim=True), f.scaling)


def table(*factors: Factors, **kwargs) -> pd.DataFrame:
    frame = pd.DataFrame(spectra.of_factors(factors, **kwargs), columns=ANALYSES["spectra"].fields)
    numbers = [c for c in frame if c not in ("module", "projection", "part", "quantity")]
    return frame.astype(dict.fromkeys(numbers, float))


def values(frame: pd.DataFrame, part: str, quantity: str) -> np.ndarray:
    return frame[(frame["part"] == part) & (frame["quantity"] == quantity)]["value"].to_numpy()


def test_numbers_are_those_of_the_materialised_update():
    f = draw()
    frame = table(f)
    delta = (f.scaling * f.B @ f.A).numpy()
    power = np.abs(np.fft.fft2(delta)) ** 2
    power /= power.sum()
    u, v = (fourier.frequencies(k) for k in delta.shape)
    for quantity, frequency in (
        ("row_share", np.broadcast_to(u[:, None], power.shape)),
        ("column_share", np.broadcast_to(v, power.shape)),
        ("radial_share", np.hypot(u[:, None], v)),
    ):
        ends = [k / spectra.BANDS for k in range(1, spectra.BANDS + 1)]
        ends += [math.sqrt(2)] if quantity == "radial_share" else []
        expected = [
            power[(frequency > low) & (frequency <= high)].sum()
            for low, high in zip([-1, *ends[:-1]], ends, strict=True)
        ]
        assert values(frame, "delta", quantity) == pytest.approx(expected, rel=1e-4, abs=1e-8)
        assert sum(expected) == pytest.approx(1)
    singular = np.linalg.svd(delta, compute_uv=False)[:3]
    norm = np.linalg.norm(delta)
    assert values(frame, "delta", "norm") == pytest.approx([norm], rel=1e-4)
    assert values(frame, "delta", "singular_value") == pytest.approx(singular / norm, rel=1e-4)
    p = singular / singular.sum()
    entropy = -(p * np.log(p)).sum()
    assert values(frame, "delta", "effective_rank") == pytest.approx([np.exp(entropy)], rel=1e-4)
    stable = (norm / singular[0]) ** 2
    assert values(frame, "delta", "stable_rank") == pytest.approx([stable], rel=1e-4)
    for part, w in (("A", f.A), ("B", f.B)):
        power = np.abs(np.fft.fft(w.numpy().ravel())) ** 2
        low = power[fourier.frequencies(w.numel()) <= 0.5].sum() / power.sum()
        assert values(frame, part, "share")[: spectra.BANDS // 2].sum() == pytest.approx(low, 1e-3)


@pytest.mark.parametrize(("m", "n", "rank"), [(20, 26, 3), (5, 40, 8), (40, 5, 8), (4, 4, 4)])
def test_singular_values_come_from_the_factors_alone(m, n, rank):
    f = draw(m, n, rank)
    expected = torch.linalg.svdvals(f.B @ f.A)
    found = spectra.singular_values(f.A, f.B)
    torch.testing.assert_close(found, expected[: len(found)])
    assert expected[len(found) :].abs().sum() < 1e-9


def test_effective_rank_counts_equal_singular_values():
    A, B = torch.eye(3, 10).double(), torch.eye(12, 3).double()
    frame = table(Factors(NAMES[0], A, B, 1.0))
    assert values(frame, "delta", "effective_rank") == pytest.approx([3])
    assert values(frame, "delta", "stable_rank") == pytest.approx([3])


def test_random_factors_lie_within_the_spread_of_the_nulls_and_smooth_ones_do_not():
    def outside(frame: pd.DataFrame, null: str) -> float:
        shares = frame[frame["quantity"].str.endswith("share")]
        r = spectra.ratios(shares, null)
        return ((r["ratio"] < r["null_low"]) | (r["ratio"] > r["null_high"])).mean()

    ordinary = [draw(60, 80, 4, seed) for seed in range(6)]
    for null in ("permuted", "random"):
        assert outside(table(*ordinary), null) < 0.1  # 5 % by construction
        assert outside(table(*map(smooth, ordinary)), null) > 0.5


def test_permuting_an_adapter_changes_its_spectrum_and_not_its_permuted_null():
    f = smooth(draw(60, 80, 4))
    rng = np.random.default_rng(0)
    rows, columns = (torch.as_tensor(rng.permutation(k)) for k in (60, 80))
    renumbered = Factors(f.name, f.A[:, columns], f.B[rows], f.scaling)
    before, after = (
        t[t["quantity"] == "row_share"].set_index("x") for t in (table(f), table(renumbered))
    )
    low = before.index[0]
    assert after["value"][low] < 0.5 * before["value"][low]
    difference = abs(after["permuted_mean"] - before["permuted_mean"])
    assert (difference < before["permuted_sd"]).all()


@pytest.mark.parametrize("rank", [1, 2, 5, 8])
def test_rank_shares_are_of_the_dft_over_the_rank_index(rank):
    f = draw(rank=rank)
    power = (np.abs(np.fft.fft(f.B.numpy(), axis=1)) ** 2).sum(0)
    x = fourier.frequencies(rank)
    expected = [power[x == at].sum() / power.sum() for at in sorted(set(x))]
    frame = table(f)
    assert values(frame, "B", "rank_share") == pytest.approx(expected, rel=1e-4)
    own = frame[frame["quantity"] == "rank_share"]
    assert own["x"].tolist() == pytest.approx(sorted(set(x)))
    share = [(x == at).mean() for at in sorted(set(x))]  # white: every frequency alike
    for null in ("permuted", "random"):
        assert own[f"{null}_mean"].to_numpy() == pytest.approx(share, abs=0.05)


def save(folder, seed, factors, *, without=()):
    """A run in the store with the spectra of these factors, or, as an older one, without some."""
    wanted = config.load("nano", "lora", seed)
    wanted = dataclasses.replace(wanted, benchmarks=())
    description = config.to_dict(wanted)
    source = folder / f"source-{seed}"
    source.mkdir()
    (source / "config.json").write_bytes(formats.to_json(description))
    (source / "provenance.json").write_bytes(formats.to_json({}))
    (source / "training.csv").write_bytes(formats.to_csv(formats.TRAINING_FIELDS, []))
    (source / "adapter").mkdir()
    weights = {}
    for f in factors:
        weights[f"base_model.model.{f.name}.lora_A.weight"] = f.A.contiguous()
        weights[f"base_model.model.{f.name}.lora_B.weight"] = f.B.contiguous()
    save_file(weights, source / "adapter" / "adapter_model.safetensors")
    written = {"peft_type": "LORA", "lora_alpha": factors[0].scaling * factors[0].A.shape[0]}
    (source / "adapter" / "adapter_config.json").write_text(json.dumps(written))
    rows = [r for r in spectra.of_factors(factors) if r["quantity"] not in without]
    (source / "spectra.csv.gz").write_bytes(formats.to_csv_gz(ANALYSES["spectra"].fields, rows))
    store.save(folder / "runs", config.run_id(description), source)


def test_sizes_and_rank_shares_of_stored_runs_old_and_new(tmp_path):
    modules = [draw(seed=1), draw(seed=2, name=NAMES[1])]
    other = [Factors(f.name, f.A, 3 * f.B, f.scaling) for f in modules]
    save(tmp_path, 1, modules)
    save(tmp_path, 2, other, without=("rank_share",))
    found = spectra.sizes(read("spectra", tmp_path / "runs")).set_index("seed")
    deltas = [(f.scaling * f.B @ f.A).numpy() for f in modules]
    norm = math.sqrt(sum((d**2).sum() for d in deltas))
    assert found["norm"].to_dict() == pytest.approx({1: norm, 2: 3 * norm}, rel=1e-4)
    singular = [np.linalg.svd(d, compute_uv=False)[:3] for d in deltas]
    ranks = [np.exp(-((s / s.sum()) * np.log(s / s.sum())).sum()) for s in singular]
    assert found["effective_rank"].to_numpy() == pytest.approx(np.mean(ranks), rel=1e-4)
    shares = spectra.rank_shares(tmp_path / "runs", profile="nano")
    power = np.stack([(np.abs(np.fft.fft(f.B.numpy(), axis=1)) ** 2).sum(0) for f in modules])
    power /= power.sum(1, keepdims=True)
    expected = [power.mean(0)[0], power.mean(0)[1:].sum()]
    for seed in (1, 2):
        own = shares[shares["seed"] == seed]
        assert own["value"].to_numpy() == pytest.approx(expected, rel=1e-4)
        assert own["x"].to_numpy() == pytest.approx([0, 2 / 3], rel=1e-4)


def test_a_fresh_adapter_has_no_update_to_speak_of():
    f = draw()
    frame = table(Factors(f.name, f.A, torch.zeros_like(f.B), 2.0))
    assert values(frame, "delta", "norm") == [0] and values(frame, "B", "norm") == [0]
    assert set(frame[frame["quantity"] != "norm"]["part"]) == {"A"}


def test_layers_weigh_modules_by_their_energy():
    modules = [draw(seed=1), draw(seed=2, name="model.layers.0.self_attn.v_proj"), draw(seed=3, name=NAMES[1])]  # fmt: skip
    modules[1] = Factors(modules[1].name, modules[1].A, 3 * modules[1].B, 2.0)
    frame = table(*modules).assign(arm="lora", seed=1)
    layers = spectra.by_layer(frame)
    assert set(layers["layer"]) == {0, 1}
    first = layers[(layers["layer"] == 0) & (layers["quantity"] == "row_share")]
    power = sum(np.abs(np.fft.fft2((2 * f.B @ f.A).numpy())) ** 2 for f in modules[:2])
    in_first_band = fourier.frequencies(20) <= 1 / spectra.BANDS
    expected = power[in_first_band].sum() / power.sum()
    assert first["value"].iloc[0] == pytest.approx(expected, rel=1e-3)
    assert first["value"].sum() == pytest.approx(1, rel=1e-3)
    alone = frame[(frame["layer"] == 1) & (frame["quantity"] == "row_share")]
    second = layers[(layers["layer"] == 1) & (layers["quantity"] == "row_share")]
    for column in ("value", "permuted_mean", "permuted_sd", "random_mean", "random_sd"):
        assert second[column].to_numpy() == pytest.approx(alone[column].to_numpy())


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter folder as a run stores it, with its model."""
    folder = tmp_path_factory.mktemp("run")
    model = models.load_model(tiny.make_base(folder / "base"), "fp32", "cpu")
    model = adapters.add(model, config.load("nano", "lora", 1).adapter)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapters.save(model, folder / "adapter", "data/nano/base")
    return folder / "adapter", model


def test_a_stored_adapter_has_the_factors_of_its_model(adapter):
    folder, model = adapter
    stored = {f.name: f for f in spectra.read_adapter(folder)}
    live = fourier.lora_factors(model)
    assert len(stored) == len(live) == 4
    for f in live:
        s = stored[f.name.removeprefix("base_model.model.")]
        assert torch.equal(s.A, f.A) and torch.equal(s.B, f.B) and s.scaling == f.scaling
    assert [spectra.layer_of(name) for name in stored] == [0, 0, 1, 1]


def test_rslora_and_what_is_no_lora(adapter, tmp_path):
    folder, _ = adapter
    written = json.loads((folder / "adapter_config.json").read_text())
    save_file(
        load_file(folder / "adapter_model.safetensors"), tmp_path / "adapter_model.safetensors"
    )
    (tmp_path / "adapter_config.json").write_text(json.dumps({**written, "use_rslora": True}))
    assert spectra.read_adapter(tmp_path)[0].scaling == pytest.approx(16 / math.sqrt(8))
    (tmp_path / "adapter_config.json").write_text(json.dumps({**written, "use_dora": True}))
    with pytest.raises(FlexError, match="is a DoRA, whose update is not that of its factors"):
        spectra.read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": peft.PeftType.IA3}))
    with pytest.raises(FlexError, match="no LoRA adapter"):
        spectra.read_adapter(tmp_path)


def test_equal_adapters_give_equal_bytes(adapter):
    folder, _ = adapter
    rows = [spectra.of_factors(spectra.read_adapter(folder)) for _ in range(2)]
    first, second = (formats.to_csv_gz(ANALYSES["spectra"].fields, r) for r in rows)
    assert first == second
