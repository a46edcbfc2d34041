"""Optimisers from kept libraries: that they are wired as they are meant, and fit what is trained."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from flexlib import config, models
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.training import encoding
from flexlib.training.optimizers import optimizer_class
from flexlib.training.trainer import train

RECORDS = {"train": tiny.records(40), "validation": tiny.records(5)}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def make(base: Path, output: Path, arm: str, *overrides: str, callbacks=()) -> Path:
    output.mkdir(exist_ok=True)
    shutil.rmtree(output / "adapter", ignore_errors=True)
    wanted = config.load("nano", arm, 1, overrides=overrides)
    train(
        wanted, base, RECORDS, output, checkpoints=output / "checkpoints", progress=False,
        callbacks=callbacks,
    )  # fmt: skip
    return output


def weights(output: Path) -> bytes:
    return (output / "adapter" / "adapter_model.safetensors").read_bytes()


def losses(output: Path) -> list[float]:
    with (output / "training.csv").open(newline="") as file:
        return [float(row["eval_loss"]) for row in csv.DictReader(file) if row["eval_loss"]]


def validation_loss(base: Path, output: Path) -> float:
    """Of the stored adapter, from the definition."""
    tokenizer = models.load_tokenizer(base)
    model = models.load_model(base, "fp32", "cpu")
    model = adapters.load(model, output / "adapter", merge=False)
    total, count = 0.0, 0
    for record in RECORDS["validation"]:
        ids = encoding.encode(record, tokenizer, loss_on="all", max_length=256)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].double()
        total += torch.nn.functional.cross_entropy(
            logits, torch.tensor(ids[1:]), reduction="sum"
        ).item()
        count += len(ids) - 1
    return total / count


@pytest.mark.parametrize("arm", ["muon", "schedule-free"])
def test_what_is_evaluated_is_stored_and_a_resumed_run_is_identical(base, tmp_path, arm):
    output = make(base, tmp_path / "run", arm, "training.learning_rate=0.02")
    once, curve = weights(output), losses(output)
    assert curve[-1] < 0.95 * curve[0]
    assert validation_loss(base, output) == pytest.approx(curve[-1], rel=1e-5)
    shutil.rmtree(output / "checkpoints" / "checkpoint-30")
    # It goes on from step 27, after which nothing was evaluated.
    again = make(base, output, arm, "training.learning_rate=0.02")
    assert weights(again) == once and losses(again) == curve


class Iterates(TrainerCallback):
    """The iterates of every step, by the names that they are stored under."""

    def __init__(self) -> None:
        self.seen: dict[str, list[torch.Tensor]] = {}

    def on_step_end(self, args, state, control, *, model, optimizer, **kwargs) -> None:
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                z = optimizer.optimizer.state[weight]["z"].detach().clone()
                self.seen.setdefault(name.replace(".default.", "."), []).append(z)


def test_what_is_stored_of_schedule_free_is_the_mean_of_its_iterates(base, tmp_path):
    """All count the same, as the learning rate stays."""
    iterates = Iterates()
    output = make(
        base, tmp_path / "run", "schedule-free", "training.learning_rate=0.02", callbacks=[iterates]
    )
    stored = load_file(output / "adapter" / "adapter_model.safetensors")
    assert set(stored) == set(iterates.seen)
    for name, weight in stored.items():
        assert len(iterates.seen[name]) == 30
        torch.testing.assert_close(
            weight, torch.stack(iterates.seen[name]).mean(0), rtol=1e-4, atol=1e-5
        )


def test_muon_steps_as_far_as_adamw_along_all_singular_directions():
    """Newton and Schulz's five steps leave singular values around one, not at it."""
    made = optimizer_class(config.load("nano", "muon", 1, overrides=["training.learning_rate=0.1"]))
    assert made is not None
    factor = torch.nn.Parameter(torch.zeros(8, 192))
    optimizer = made[0]([factor], weight_decay=0.0, **made[1])
    factor.grad = torch.randn(8, 192, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    left, _, right = torch.linalg.svd(factor.grad, full_matrices=False)
    # Against the polar factor: 0.2 of AdamW's unit step in root mean square, entry by entry.
    expected = -0.1 * 0.2 * 192**0.5 * left @ right
    assert (factor.detach() - expected).norm() < 0.4 * expected.norm()
    inner = left.T @ factor.detach() @ right.T
    assert (inner - inner.diagonal().diag()).abs().max() < 0.05 * inner.abs().max()
    assert made[1]["momentum"] == 0.95


def test_schedule_free_without_its_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(FlexError, match="Schedule-free comes from pytorch-optimizer"):
        optimizer_class(config.load("nano", "schedule-free", 1))
    optimizer_class(config.load("nano", "muon", 1))  # torch's own
