"""SophiaG: clipped second-order updates from a diagonal curvature estimate (Liu et al. 2024,
arXiv:2305.14342, Algorithm 3).

With gradient ``g`` and, every k steps, an estimate of the diagonal of the Gauss-Newton matrix::

    m     <-  beta1 m + (1 - beta1) g
    h     <-  beta2 h + (1 - beta2) B g_hat^2                       every k steps
    theta <-  (1 - lr weight_decay) theta
    theta <-  theta - lr sign(m) min(|m| / (rho h + eps), 1)

``g_hat`` is the gradient of the mean cross-entropy over B positions with labels drawn from the model's
own softmax (:mod:`flexlib.training.optimizers.gnb` makes it). ``rho`` is the paper's gamma, under
the name that the authors' code gives it; ``eps`` is added as there, where the paper takes a
maximum. That code keeps B out of ``h`` and multiplies by one constant in ``step``; here B belongs
to each estimate, since it differs from batch to batch, and with a constant B both are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from flexlib.errors import FlexError

Tensors = list[torch.Tensor]


class SophiaG(Optimizer):
    """Sophia with the Gauss-Newton-Bartlett estimate, its hyperparameters those of the authors' code.

    ``step`` uses the gradients of the loss. After it, at least once in ``every`` steps, put the
    gradients of the sampled-label loss into ``.grad`` and call :meth:`update_curvature`.

    Args:
        params: tensors or parameter groups.
        lr: step size, the largest change of a parameter in one step.
        betas: decay of the momentum, and of the curvature at each of its updates.
        rho: scale of the curvature; the larger, the fewer coordinates are clipped.
        eps: added to ``rho h``.
        weight_decay: decoupled, as in AdamW.
        curvature: ``"gnb"``, or ``"constant"``: ``h`` is ``constant`` and never updated, which is
            how the Sophia of the FLeX release behaves.
        every: ``step`` refuses to go on when the last update lies this many steps back. Sophia that is
            never told the curvature trains all the same, as sign momentum.
        bias_correction: divide ``h`` by ``1 - beta2^n`` after n updates, as Adam does; not part of
            the published algorithm.

    Raises:
        FlexError: a hyperparameter out of range, a sparse gradient, or an overdue curvature update.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.965, 0.99),
        rho: float = 0.04,
        eps: float = 1e-15,
        weight_decay: float = 0.1,
        *,
        curvature: Literal["gnb", "constant"] = "gnb",
        constant: float = 1e-4,
        every: int = 10,
        bias_correction: bool = False,
    ) -> None:
        for name, value, ok in (
            ("lr", lr, lr >= 0),
            ("betas", betas, all(0 <= beta < 1 for beta in betas)),
            ("rho", rho, rho > 0),
            ("eps", eps, eps > 0),
            ("weight_decay", weight_decay, weight_decay >= 0),
            ("curvature", curvature, curvature in ("gnb", "constant")),
            ("constant", constant, constant > 0),
            ("every", every, every >= 1),
        ):
            if not ok:
                raise FlexError(
                    f"Sophia's {name} cannot be {value!r}; see flexlib.training.optimizers.sophia"
                )
        defaults = {
            "lr": lr, "betas": betas, "rho": rho, "eps": eps, "weight_decay": weight_decay,
            "curvature": curvature, "constant": constant, "every": every,
            "bias_correction": bias_correction,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of the parameters from the gradients of the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._check_curvature(group)
            lr, beta1 = group["lr"], group["betas"][0]
            for params, grads, momenta, curvatures, updates in self._tensors(group):
                torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
                torch._foreach_mul_(momenta, beta1)
                torch._foreach_add_(momenta, grads, alpha=1 - beta1)
                ratios = torch._foreach_abs(momenta)
                torch._foreach_div_(ratios, _denominators(group, curvatures, updates))
                torch._foreach_clamp_max_(ratios, 1)
                torch._foreach_addcmul_(params, torch._foreach_sign(momenta), ratios, value=-lr)
            group["steps_since_curvature"] = group.get("steps_since_curvature", 0) + 1
        return loss

    @torch.no_grad()
    def update_curvature(self, *, positions: int) -> None:
        """Take the ``.grad`` of the parameters as one Gauss-Newton-Bartlett estimate.

        Args:
            positions: B, over how many loss-bearing positions the sampled-label loss whose gradient
                this is was averaged. A wrong B is a wrong ``rho``.

        Raises:
            FlexError: fewer than one position, or no parameter has a gradient.
        """
        if positions < 1:
            raise FlexError(f"a curvature estimate needs 1 or more positions, not {positions}")
        if all(p.grad is None for group in self.param_groups for p in group["params"]):
            raise FlexError(
                "no parameter has a gradient to estimate curvature from; the sampled-label loss "
                "must be differentiated through the logits"
            )
        for group in self.param_groups:
            beta2 = group["betas"][1]
            for _, grads, _, curvatures, _ in self._tensors(group):
                torch._foreach_mul_(curvatures, beta2)
                torch._foreach_addcmul_(curvatures, grads, grads, value=(1 - beta2) * positions)
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["curvature_updates"] += 1
            group["steps_since_curvature"] = 0

    @torch.no_grad()
    def diagnostics(self) -> dict[str, float]:
        """``unclipped``: share of the coordinates whose update the clip leaves alone, 0..1, from the
        present momentum and curvature; ``curvature_norm``: Euclidean norm of the ``h`` in use.

        The authors tune rho until ``unclipped`` lies between 0.1 and 0.5. Both are NaN before the
        first step.
        """
        unclipped, squares, total = [], [], 0
        for group in self.param_groups:
            states = [self.state[p] for p in group["params"] if "momentum" in self.state[p]]
            total += sum(s["momentum"].numel() for s in states)
            for s in states:
                h, n = [s["curvature"]], [s["curvature_updates"]]
                [denominator] = _denominators(group, h, n)
                unclipped.append((s["momentum"].abs() < denominator).sum())
                squares.append((denominator - group["eps"]).div(group["rho"]).square().sum())
        if not total:
            return {"unclipped": float("nan"), "curvature_norm": float("nan")}
        # Tensors until here: one wait for the device, not one a parameter.
        device = unclipped[0].device
        share = torch.stack([u.to(device) for u in unclipped]).sum() / total
        norm = torch.stack([s.to(device) for s in squares]).sum().sqrt()
        return {"unclipped": share.item(), "curvature_norm": norm.item()}

    def _check_curvature(self, group: dict[str, Any]) -> None:
        since = group.get("steps_since_curvature", 0)
        if group["curvature"] == "gnb" and since >= group["every"]:
            raise FlexError(
                f"Sophia's curvature was not updated in {since} steps: call update_curvature every "
                f"{group['every']} steps, or ask for curvature='constant'"
            )

    def _tensors(
        self, group: dict[str, Any]
    ) -> Iterator[tuple[Tensors, Tensors, Tensors, Tensors, list[int]]]:
        """Parameters, gradients, momenta, curvatures and numbers of curvature updates of a group,
        in lists of one device and dtype."""
        params = [p for p in group["params"] if p.grad is not None]
        for p in params:
            if p.grad.is_sparse:
                raise FlexError("Sophia takes no sparse gradients; make the embedding dense")
            if not self.state[p]:
                self.state[p] = {
                    "momentum": torch.zeros_like(p, memory_format=torch.preserve_format),
                    "curvature": torch.zeros_like(p, memory_format=torch.preserve_format),
                    "curvature_updates": 0,
                }
        by_kind: dict[tuple, Tensors] = {}
        for p in params:
            by_kind.setdefault((p.device, p.dtype), []).append(p)
        for same in by_kind.values():
            states = [self.state[p] for p in same]
            yield (
                same,
                [p.grad for p in same if p.grad is not None],
                [s["momentum"] for s in states],
                [s["curvature"] for s in states],
                [s["curvature_updates"] for s in states],
            )


def _denominators(group: dict[str, Any], curvatures: Tensors, updates: list[int]) -> Tensors:
    """``rho h + eps``, h as the group's options have it."""
    if group["curvature"] == "constant":
        scaled = [torch.full_like(h, group["rho"] * group["constant"]) for h in curvatures]
    else:
        scaled = list(torch._foreach_mul(curvatures, group["rho"]))
        if group["bias_correction"]:
            beta2 = group["betas"][1]
            torch._foreach_div_(scaled, [1 - beta2**n if n else 1.0 for n in updates])
    torch._foreach_add_(scaled, group["eps"])
    return scaled
