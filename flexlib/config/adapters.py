"""The kinds of adapters: one row of :data:`ADAPTERS` each, and what each has to be told.

A kind is a configuration class of PEFT with the arguments that our settings stand for. A new one
needs its row and, if its settings are new, a class for them; nothing else knows the kinds by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from flexlib.config.checked import STRICT, Names


@dataclass(frozen=True, config=STRICT)
class Adapter:
    """What every adapter has: its kind, a key of :data:`ADAPTERS`."""

    kind: str


@dataclass(frozen=True, config=STRICT)
class LowRank(Adapter):
    """``W + scaling B A`` of the named linear layers (Hu et al. 2021); scaling is alpha / rank."""

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    target_modules: Names = ("q_proj", "v_proj")


@dataclass(frozen=True, config=STRICT)
class Rescaling(Adapter):
    """(IA)^3: a learned factor for each output of the named layers, or for each input of those that are
    ``feedforward_modules`` too (Liu et al. 2022)."""

    target_modules: Names = ("k_proj", "v_proj", "down_proj")
    feedforward_modules: Names = ("down_proj",)


@dataclass(frozen=True, config=STRICT)
class SharedRandom(Adapter):
    """VeRA: two random factors that all layers share, and learned diagonals (Kopiczko et al. 2024)."""

    rank: Annotated[int, Field(ge=1)] = 256
    d_initial: float = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Names = ("q_proj", "v_proj")


@dataclass(frozen=True, config=STRICT)
class Orthogonal(Adapter):
    """OFT: the weights times a learned orthogonal matrix of blocks (Qiu et al. 2023)."""

    block_size: Annotated[int, Field(ge=2)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Names = ("q_proj", "v_proj")


@dataclass(frozen=True, config=STRICT)
class Spectral(Adapter):
    """FourierFT: an update that is learned at a few random frequencies (Gao et al. 2024)."""

    frequencies: Annotated[int, Field(ge=1)] = 1000
    scaling: float = 150.0
    target_modules: Names = ("q_proj", "v_proj")
    start: Literal["zero"] | None = None  # None: normal coefficients, as its authors begin


@dataclass(frozen=True, config=STRICT)
class InBasis(Spectral):
    """The control of FourierFT: as many coefficients in a basis without frequencies
    (:mod:`flexlib.models.basisft`)."""

    basis: Literal["random", "orthogonal"] = "orthogonal"


@dataclass(frozen=True, config=STRICT)
class Virtual(Adapter):
    """Learned vectors before the prompt: embeddings (Lester et al. 2021) or the keys and values of every
    layer (Li and Liang 2021)."""

    tokens: Annotated[int, Field(ge=1)] = 20


@dataclass(frozen=True, config=STRICT)
class Full(Adapter):
    """All weights: no adapter, and nothing to set."""


@dataclasses.dataclass(frozen=True)
class AdapterKind:
    """One kind of adapter.

    Attributes:
        settings: the class of what it has to be told.
        peft: the name of PEFT's configuration class, or of one that :mod:`flexlib.models.basisft` adds;
            None: all weights are trained.
        arguments: from the settings to the arguments of that class.
        factors: whether training holds factors A and B whose scaled product is the update. The
            penalty needs them.
        mergeable: whether it can be folded into the weights.
        virtual: whether it puts tokens before the text.
        starts_in_base: whether its factors begin as a part of the base, which is taken out of it; it
            is stored as the difference, which is a LoRA of twice the rank.
    """

    settings: type[Adapter]
    peft: str | None
    arguments: Callable[[Any], Mapping[str, Any]] = lambda settings: {}
    factors: bool = False
    mergeable: bool = True
    virtual: bool = False
    starts_in_base: bool = False

    @property
    def changes_base(self) -> bool:
        """Whether training leaves another base model than it found."""
        return self.peft is None or self.starts_in_base


def _lora(**more: Any) -> Callable[[LowRank], dict[str, Any]]:
    return lambda s: {
        "r": s.rank,
        "lora_alpha": s.alpha,
        "lora_dropout": s.dropout,
        "target_modules": list(s.target_modules),
        **more,
    }


def _spectral(s: Spectral) -> dict[str, Any]:
    return {
        "n_frequency": s.frequencies,
        "scaling": s.scaling,
        "target_modules": list(s.target_modules),
        "init_weights": s.start == "zero",
    }


def _virtual(s: Virtual) -> dict[str, Any]:
    return {"num_virtual_tokens": s.tokens}


ADAPTERS: dict[str, AdapterKind] = {
    "lora": AdapterKind(LowRank, "LoraConfig", _lora(), factors=True),
    "rslora": AdapterKind(LowRank, "LoraConfig", _lora(use_rslora=True), factors=True),
    # Its penalty presses on the low-rank part, before the columns are normalised.
    "dora": AdapterKind(LowRank, "LoraConfig", _lora(use_dora=True), factors=True),
    "pissa": AdapterKind(
        LowRank, "LoraConfig", _lora(init_lora_weights="pissa"), starts_in_base=True
    ),
    "ia3": AdapterKind(
        Rescaling,
        "IA3Config",
        lambda s: {
            "target_modules": list(s.target_modules),
            "feedforward_modules": list(s.feedforward_modules),
        },
    ),
    "vera": AdapterKind(
        SharedRandom,
        "VeraConfig",
        lambda s: {
            "r": s.rank,
            "d_initial": s.d_initial,
            "vera_dropout": s.dropout,
            "target_modules": list(s.target_modules),
        },
    ),
    "oft": AdapterKind(
        Orthogonal,
        "OFTConfig",
        lambda s: {
            "oft_block_size": s.block_size,
            "r": 0,
            "module_dropout": s.dropout,
            "target_modules": list(s.target_modules),
        },
    ),
    "fourierft": AdapterKind(Spectral, "FourierFTConfig", _spectral),
    "basisft": AdapterKind(InBasis, "BasisFTConfig", lambda s: {**_spectral(s), "basis": s.basis}),
    "prompt": AdapterKind(Virtual, "PromptTuningConfig", _virtual, mergeable=False, virtual=True),
    "prefix": AdapterKind(Virtual, "PrefixTuningConfig", _virtual, mergeable=False, virtual=True),
    "full": AdapterKind(Full, None),
}
