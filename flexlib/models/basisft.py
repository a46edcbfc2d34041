"""FourierFT's control, which PEFT lacks: the same sparse matrix of coefficients in a basis that has no
frequencies.

FourierFT's update is ``scaling * Re(F E G)``: E (outputs, inputs) holds the learned coefficients at a few
random places and zeros elsewhere, F and G are inverse Fourier transforms. Here a random matrix takes the
place of each, with independent normal entries or orthogonal. A coefficient's share of the update is as
large as in FourierFT, ``1 / sqrt(2 outputs inputs)`` in Frobenius norm: always in the orthogonal basis, in
the mean of squares in the random one. E is FourierFT's: the same number, at the same places.

Importing this module makes PEFT know the type ``BASISFT``. A stored adapter has a type of its own, because
PEFT by itself would read it as a FourierFT and compute something else.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from peft import FourierFTConfig, FourierFTModel, mapping
from peft.tuners.fourierft.layer import FourierFTLinear

TYPE = "BASISFT"


@dataclass
class BasisFTConfig(FourierFTConfig):
    """FourierFT's configuration, and the ``basis``: random or orthogonal."""

    basis: str = "orthogonal"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type: Any = TYPE


class _Linear(FourierFTLinear):
    basis: str

    def get_delta_weight(self, adapter: str) -> torch.Tensor:
        spectrum, places = self.fourierft_spectrum[adapter], self.indices[adapter]
        coefficients = torch.zeros(self.out_features, self.in_features, device=spectrum.device)
        coefficients[places[0], places[1]] = spectrum.float()
        seed = self.fourierft_random_loc_seed[adapter]
        left, right = (
            matrix(self.basis, size, seed + side).to(spectrum.device)
            for side, size in enumerate((self.out_features, self.in_features))
        )
        size = (2 * self.out_features * self.in_features) ** -0.5
        # As exact as FourierFT's transform, which autocast leaves alone.
        with torch.autocast(spectrum.device.type, enabled=False):
            update = left @ coefficients @ right * (size * self.fourierft_scaling[adapter])
        return update.to(spectrum.dtype)


@functools.lru_cache(maxsize=8)
def matrix(basis: str, size: int, seed: int) -> torch.Tensor:
    """One side of a basis, (size, size): normal entries of variance 1 / size, or orthogonal by the QR
    decomposition of such; the same for the same seed."""
    with torch.inference_mode(False):  # kept for a training that may come after a decoding
        generator = torch.Generator().manual_seed(seed)
        # The skeleton of a model is made on the meta device, where nothing can be decomposed or kept.
        drawn = torch.randn(size, size, generator=generator, device="cpu") / size**0.5
        if basis == "random":
            return drawn
        orthogonal, triangular = torch.linalg.qr(drawn)
        # Uniform among the orthogonal matrices (Mezzadri 2007), and the same by every library's QR.
        return orthogonal * triangular.diagonal().sign()


class BasisFTModel(FourierFTModel):
    """PEFT's FourierFT with another layer."""

    @staticmethod
    def _create_new_module(
        fourierft_config: BasisFTConfig, adapter_name: str, target: Any, **kwargs: Any
    ) -> _Linear:
        # PEFT names its layer's class here and nowhere else.
        layer = FourierFTModel._create_new_module(fourierft_config, adapter_name, target, **kwargs)
        layer.__class__ = _Linear
        layer.basis = fourierft_config.basis
        return layer


# PEFT's register_peft_method takes only names that its own enumeration has.
mapping.PEFT_TYPE_TO_CONFIG_MAPPING[TYPE] = BasisFTConfig  # type: ignore[index]
mapping.PEFT_TYPE_TO_TUNER_MAPPING[TYPE] = BasisFTModel  # type: ignore[index]
mapping.PEFT_TYPE_TO_PREFIX_MAPPING[TYPE] = FourierFTModel.prefix  # type: ignore[index]
