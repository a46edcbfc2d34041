"""Intruder dimensions: large singular directions of a tuned weight that its base does not have.

Shuttleworth et al. (2024, arXiv:2410.21228) take the left singular vectors of ``W + dW`` with the largest
singular values and look for the vector of ``W`` that each is most alike. One that is like none of them is an
intruder; they go with forgetting. How many a random update has, of the same rank and norm, stands beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flexlib.errors import FlexError
from flexlib.training.fourier import Factors

TOP = 10  # singular directions of the tuned weight that are looked at
THRESHOLD = 0.5  # |cosine| below which a direction is like none of the base
DRAWS = 3  # random updates


def of_factors(
    factors: Sequence[Factors],
    weight: Callable[[str], Tensor],
    *,
    top: int = TOP,
    threshold: float = THRESHOLD,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row a module: ``module``, ``base_norm`` (Frobenius, of W), ``directions`` (how many were looked
    at), ``intruders``, ``random`` (mean number of intruders of random updates of the same rank and norm)
    and ``alike`` (the smallest, over the directions, of the largest |cosine| with a direction of W, 0..1).

    Takes 2 + ``draws`` decompositions of symmetric matrices as large as the shorter side of W.

    Args:
        weight: from the name of a module to W, (outputs, inputs), of any precision.

    Raises:
        FlexError: a weight has another shape than the update.
    """
    rows = []
    for number, module in enumerate(factors):
        W = weight(module.name).detach().float()
        A, B = (m.detach().float().to(W.device) for m in (module.A, module.B))
        if W.shape != (B.shape[0], A.shape[1]):
            raise FlexError(f"{module.name} of the base has another shape than its update")
        own = left_directions(W)
        update = module.scaling * B @ A
        cosines = likeness(W + update, own, top)
        norm, rng = update.norm(), torch.Generator().manual_seed(seed * 1_000_003 + number)
        random = []
        for _ in range(draws):
            b, a = (torch.randn(m.shape, generator=rng).to(W.device) for m in (B, A))
            drawn = b @ a
            alike = likeness(W + drawn * (norm / drawn.norm()), own, top)
            random.append(int((alike < threshold).sum()))
        rows.append(
            {
                "module": module.name,
                "base_norm": float(W.norm()),
                "directions": len(cosines),
                "intruders": int((cosines < threshold).sum()),
                "random": sum(random) / len(random) if random else float("nan"),
                "alike": float(cosines.min()),
            }
        )
    return rows


def likeness(tuned: Tensor, own: Tensor, top: int) -> Tensor:
    """Of each of the ``top`` left singular directions of a tuned weight (outputs, inputs), largest first,
    the largest |cosine| with a column of ``own`` (outputs, directions): (min(top, outputs, inputs),)."""
    return (own.mT @ left_directions(tuned)[:, :top]).abs().amax(0)


def left_directions(W: Tensor) -> Tensor:
    """Left singular vectors of W (m, n), largest first: (m, min(m, n)). Those of W W' are the same, and
    its decomposition takes a fraction of the time. A tall W = Q R has Q times those of R, which is n x n."""
    if W.shape[0] > W.shape[1]:
        Q, R = torch.linalg.qr(W)
        return Q @ left_directions(R)
    return torch.linalg.eigh(W @ W.mT).eigenvectors.flip(-1)
