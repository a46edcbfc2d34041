"""Every kind of adapter: put on, trained, stored, taken up again, merged; and a new kind is a row."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import pytest
import tiny
import torch

from flexlib import cli, config, models
from flexlib.config import ADAPTERS
from flexlib.config.adapters import LowRank
from flexlib.errors import FlexError
from flexlib.models import adapters, basisft
from flexlib.runs import store

SMALL = {"target_modules": ("q_proj", "v_proj"), "rank": 4, "block_size": 8, "frequencies": 50}
SMALL |= {"feedforward_modules": (), "tokens": 3}
SPECTRAL = ["fourierft", "basisft"]
IDS = torch.tensor([[5, 17, 40, 9, 250, 33]])


def settings(kind: str) -> config.Adapter:
    cls = ADAPTERS[kind].settings
    names = {f.name for f in dataclasses.fields(cls)}
    return cls(kind=kind, **{k: v for k, v in SMALL.items() if k in names})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def plain(base):
    return models.load_model(base, "fp32", "cpu")


def logits(model) -> torch.Tensor:
    """Of the last token, which also a model with virtual tokens has."""
    with torch.no_grad():
        return model.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[0, -1]


def trained(base, kind: str):
    """A model with an adapter that has made two steps, and its start."""
    torch.manual_seed(0)
    model = adapters.add(plain(base), settings(kind))
    start = adapters.start_of(model, settings(kind))
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.5)
    for _ in range(2):
        model.train()(
            input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, start


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_stored_adapter_is_the_one_that_was_trained(base, tmp_path, kind):
    model, start = trained(base, kind)
    expected = logits(model)
    assert (expected - logits(plain(base))).abs().max() > 1e-3
    adapters.save(model, tmp_path / "adapter", "some/base", start=start)
    assert str(base) not in (tmp_path / "adapter" / "adapter_config.json").read_text()
    loaded = adapters.load(plain(base), tmp_path / "adapter", merge=False)
    if ADAPTERS[kind].starts_in_base:  # stored as a difference, whose sum is rounded otherwise
        torch.testing.assert_close(logits(loaded), expected, rtol=1e-3, atol=1e-4)
    else:
        assert torch.equal(logits(loaded), expected)
    if ADAPTERS[kind].mergeable:
        merged = adapters.load(plain(base), tmp_path / "adapter", merge=True)
        torch.testing.assert_close(logits(merged), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "kind",
    [k for k, v in ADAPTERS.items() if not v.virtual and k not in SPECTRAL],
)
def test_a_new_adapter_changes_nothing(base, kind):
    torch.testing.assert_close(
        logits(adapters.add(plain(base), settings(kind))), logits(plain(base)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", SPECTRAL)
def test_coefficients_begin_at_random_or_at_zero(base, kind):
    """At random, as FourierFT's authors have it."""
    before = logits(plain(base))
    assert not torch.equal(logits(adapters.add(plain(base), settings(kind))), before)
    at_zero = dataclasses.replace(settings(kind), start="zero")
    assert torch.equal(logits(adapters.add(plain(base), at_zero)), before)


# Of the tiny model: two layers, 32 inputs and outputs of q, k and v, 64 inputs of down_proj, 320 tokens.
BY_HAND = {
    "lora": 2 * 2 * 4 * (32 + 32),  # layers, modules, rank, inputs and outputs
    "rslora": 2 * 2 * 4 * (32 + 32),
    "dora": 2 * 2 * (4 * (32 + 32) + 32),  # and the size of each output's weights
    "pissa": 2 * 2 * 4 * (32 + 32),
    "ia3": 2 * 2 * 32,  # a factor an output
    "vera": 2 * 2 * (4 + 32),  # a factor a rank and an output
    "oft": 2 * 2 * (32 // 8) * (8 * 7 // 2),  # blocks, each a skew-symmetric matrix
    "fourierft": 2 * 2 * 50,
    "basisft": 2 * 2 * 50,
    "prompt": 3 * 32,
    "prefix": 3 * 2 * 2 * 32,  # keys and values of each layer
    "full": 2 * 320 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32,
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_as_many_parameters_are_trained_as_counted_by_hand(base, kind):
    trained = adapters.check(models.skeleton(base), settings(kind))
    assert sum(map(math.prod, trained.values())) == BY_HAND[kind]


@pytest.mark.parametrize("kind", ADAPTERS)
def test_what_a_kind_says_of_itself_is_so(base, kind):
    model, _ = trained(base, kind)
    assert any(p.requires_grad for p in model.parameters())
    if not ADAPTERS[kind].changes_base and hasattr(model, "unload"):
        torch.testing.assert_close(logits(model.unload()), logits(plain(base)))


def test_pissa_is_stored_as_a_lora_of_twice_the_rank(base, tmp_path):
    model, start = trained(base, "pissa")
    adapters.save(model, tmp_path / "adapter", "some/base", start=start)
    from flexlib.analysis import spectra

    factors = spectra.read_adapter(tmp_path / "adapter")
    assert {f.A.shape[0] for f in factors} == {8} and {f.scaling for f in factors} == {16 / 4}


def test_modules_that_are_not_there_are_refused(base):
    wanted = dataclasses.replace(settings("ia3"), target_modules=("query",))
    with pytest.raises(FlexError, match=r"no module 'query' to adapt.*q_proj"):
        adapters.add(plain(base), wanted)


def test_a_block_size_that_peft_would_change_is_refused(base):
    wanted = dataclasses.replace(settings("oft"), block_size=7)
    with pytest.raises(FlexError, match=r"'oft' does not go on this model: .*7"):
        adapters.check(models.skeleton(base), wanted)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_kind_can_be_tried_without_weights(base, kind):
    adapters.check(models.skeleton(base), settings(kind))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter.kind=lorax"], "'adapter.kind' is one of lora, .*full, not 'lorax'"),
        (["adapter.kind=ia3", "adapter.rank=4"], "unknown parameter 'adapter.rank'; adapter has"),
        (["adapter.kind=ia3", "regularizer.form=factor"], "factors A and B.*can be lora, rslora"),
        (["adapter.kind=pissa", "regularizer.form=l2"], "whose product is the update"),
        (["adapter.kind=fourierft", "regularizer.form=factor"], "'fourierft' has none"),
        (["adapter.kind=basisft", "adapter.basis=hadamard"], "one of random, orthogonal, not"),
        (["adapter.kind=fourierft", "adapter.start=one"], "'adapter.start' must be|one of"),
        (["adapter.kind=prefix", "decoding.merge_adapter=true"], "cannot be merged"),
        (["adapter.kind=prompt", "training.packing=flatten"], "packing leaves no room"),
        (["adapter.kind=prompt", "training.optimizer=sophia"], "curvature is not defined"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(overrides, message):
    with pytest.raises(FlexError, match=message):
        config.load("nano", "adamw", 1, overrides=overrides)


@pytest.mark.parametrize("kind", SPECTRAL)
def test_more_coefficients_than_weights_are_refused(base, kind):
    wanted = dataclasses.replace(settings(kind), frequencies=32 * 32 + 1)
    with pytest.raises(FlexError, match=f"'{kind}' does not go on this model: .*1025.*1024"):
        adapters.check(models.skeleton(base), wanted)


# --- the control of FourierFT -----------------------------------------------------------------------


def layer(base, **changes):
    """The first q_proj of the tiny model with a coefficient for each of its weights."""
    kind = "basisft" if "basis" in changes else "fourierft"
    wanted = ADAPTERS[kind].settings(kind=kind, frequencies=1024, start="zero", **changes)
    model = adapters.add(plain(base), wanted)
    return next(m for n, m in model.named_modules() if n.endswith("0.self_attn.q_proj"))


def update(layer, coefficients: dict[int, float]) -> torch.Tensor:
    """What coefficients, by their number, add to the weights."""
    with torch.no_grad():
        layer.fourierft_spectrum["default"].zero_()
        for number, value in coefficients.items():
            layer.fourierft_spectrum["default"][number] = value
        return layer.get_delta_weight("default")


@pytest.mark.parametrize("basis", ["random", "orthogonal"])
def test_a_basis_is_the_product_that_it_is_said_to_be(base, basis):
    """Against the definition, at the places that FourierFT has for the same coefficients."""
    found = update(layer(base, basis=basis), {3: 1.0, 700: -2.0})
    spectrum = torch.fft.fft2(
        update(layer(base), {3: 1.0})
    )  # real part: at a place and its mirror image
    places = (spectrum.abs() > 1).nonzero().tolist()
    left, right = (basisft.matrix(basis, 32, 777 + side) for side in (0, 1))
    inner = torch.linalg.inv(left) @ found @ torch.linalg.inv(right) * (2 * 32 * 32) ** 0.5 / 150
    held = (inner.abs() > 1e-2).nonzero().tolist()
    assert len(held) == 2 and sorted(inner[tuple(p)].round(decimals=2).item() for p in held) == [
        -2,
        1,
    ]
    [one] = [p for p in held if inner[tuple(p)] > 0]
    assert one in places


def test_a_coefficient_weighs_the_same_in_every_basis(base):
    numbers = range(0, 1024, 8)

    def norms(**changes):
        adapted = layer(base, **changes)
        return torch.stack([update(adapted, {n: 1.0}).norm() ** 2 for n in numbers])

    fourier, orthogonal = norms(), norms(basis="orthogonal")
    assert orthogonal.std() < 1e-4 * orthogonal.mean()
    # Frequencies that are their own mirror image, 4 of 1024, weigh twice as much.
    torch.testing.assert_close(orthogonal.mean(), fourier.mean(), rtol=0.05, atol=0)
    torch.testing.assert_close(norms(basis="random").mean(), fourier.mean(), rtol=0.3, atol=0)


def test_pefts_own_reader_refuses_what_it_would_compute_as_another(base, tmp_path):
    model, _ = trained(base, "basisft")
    adapters.save(model, tmp_path / "adapter", "some/base")
    code = f"import peft; peft.PeftConfig.from_pretrained({str(tmp_path / 'adapter')!r})"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode and "BASISFT" in done.stderr


# --- whole runs -----------------------------------------------------------------------------------


def run(place, base, *overrides: str) -> int:
    chosen = [
        *("languages=python", "decoding.max_new_tokens=8", "training.train_limit=8"),
        *("training.max_length=64", "training.evaluations=1", "training.steps=2", *overrides),
    ]
    return cli.main(
        ["run", "--arm", "adamw", "--store", str(place / "runs"), "--work-dir", str(place / "work"),
         "--base-model", str(base), "--limit", "2", "--quiet",
         *(a for o in chosen for a in ("--set", o))]
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["ia3", "pissa", "basisft", "prompt", "prefix", "full"])
def test_a_run_with_another_kind(base, tmp_path, capsys, kind):
    """Trained and decoded; the base that the next run gets is as it was saved."""
    small = ["adapter.tokens=3"] if ADAPTERS[kind].virtual else []
    assert run(tmp_path, base, f"adapter.kind={kind}", *small) == 0
    said = capsys.readouterr().out
    assert ("spectra: not defined" in said) == (kind != "pissa")
    [folder] = store.run_folders(tmp_path / "runs")
    assert config.adapter_of(store.read_config(folder))["kind"] == kind
    assert len(store.training(tmp_path / "runs")) == 3  # two steps, and step 0


@pytest.fixture
def toy(monkeypatch):
    """A kind that flexlib does not have: LoRA with a bias."""
    arguments = ADAPTERS["lora"].arguments
    monkeypatch.setitem(
        ADAPTERS,
        "toy",
        config.AdapterKind(
            LowRank, "LoraConfig", lambda s: {**arguments(s), "lora_bias": True}, factors=True
        ),
    )


def test_a_toy_kind_is_a_row(base, tmp_path, toy):
    assert run(tmp_path, base, "adapter.kind=toy", "adapter.rank=2", "regularizer.form=l2") == 0
    [folder] = store.run_folders(tmp_path / "runs")
    stored = config.adapter_of(store.read_config(folder))
    assert (stored["kind"], stored["rank"]) == ("toy", 2)
    loaded = adapters.load(plain(base), folder / "adapter", merge=False)
    assert any("lora_B" in n and n.endswith("bias") for n, _ in loaded.named_parameters())


def other(base, folder, **changes):
    """The skeleton of a base that differs from this one."""
    settings = json.loads((base / "config.json").read_text()) | changes
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    return models.skeleton(folder)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_stored_adapter_goes_on_its_base_and_on_no_other(base, tmp_path, kind):
    model, start = trained(base, kind)
    folder = tmp_path / "adapter"
    adapters.save(model, folder, "some/base", start=start)
    adapters.check_stored(models.skeleton(base), folder)
    if ADAPTERS[kind].virtual or kind == "full":
        with pytest.raises(FlexError, match="merged"):
            adapters.check_stored(models.skeleton(base), folder, merge=True)
    else:
        adapters.check_stored(models.skeleton(base), folder, merge=True)
    others = [{"num_hidden_layers": 1}, {"hidden_size": 64, "head_dim": 16}]
    others = others[1:] if kind == "prompt" else others  # its tokens lie before all layers
    others = others[:1] if kind in SPECTRAL else others  # their coefficients have no shape
    for number, changes in enumerate(others):
        skeleton = other(base, tmp_path / str(number), **changes)
        with pytest.raises(FlexError, match="does not go on this base") as told:
            adapters.check_stored(skeleton, folder)
        assert "\n" not in str(told.value)


def test_an_adapter_with_more_than_its_factors_is_known(base, tmp_path):
    """Whole modules, biases and embeddings, as PEFT stores them."""
    import peft

    whole = peft.LoraConfig(target_modules="all-linear", modules_to_save=["lm_head"], bias="all")
    peft.get_peft_model(plain(base), whole).save_pretrained(tmp_path / "whole")
    adapters.check_stored(models.skeleton(base), tmp_path / "whole")
    small = peft.get_peft_model(plain(base), peft.LoraConfig(target_modules=["q_proj"]))
    small.save_pretrained(tmp_path / "embeddings", save_embedding_layers=True)
    adapters.check_stored(models.skeleton(base), tmp_path / "embeddings")
    with pytest.raises(FlexError, match="does not go on this base"):
        adapters.check_stored(
            other(base, tmp_path / "larger", vocab_size=330), tmp_path / "embeddings"
        )


def test_its_digest_is_that_of_what_it_holds(base, tmp_path):
    model, _ = trained(base, "lora")
    for name in ("one", "two"):
        adapters.save(model, tmp_path / name, "some/base")
    (tmp_path / "two" / "README.md").write_text("beside it")
    assert adapters.digest(tmp_path / "one") == adapters.digest(tmp_path / "two")
    adapters.copy(tmp_path / "two", tmp_path / "three")
    assert {p.name for p in (tmp_path / "three").iterdir()} == set(adapters.FILES)
    weights = tmp_path / "two" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert adapters.digest(tmp_path / "one") != adapters.digest(tmp_path / "two")


def test_a_basis_that_was_made_while_decoding_can_be_trained_in():
    from flexlib.models import basisft

    basisft.matrix.cache_clear()
    with torch.inference_mode():
        basisft.matrix("orthogonal", 8, 1)
    assert not basisft.matrix("orthogonal", 8, 1).is_inference()
