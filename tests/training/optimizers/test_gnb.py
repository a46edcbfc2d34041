"""The Gauss-Newton-Bartlett estimate: unbiased, and the same however the batch is cut."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from flexlib import config, models
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.training import encoding
from flexlib.training.encoding import IGNORED
from flexlib.training.optimizers import gnb, optimizer_class
from flexlib.training.trainer import FlexTrainer, train, training_arguments

RECORDS = {"train": tiny.records(16), "validation": tiny.records(2)}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.make_base(tmp_path_factory.mktemp("base"))


# --- the estimate against the truth ---------------------------------------------------------------


class SmallModel(torch.nn.Module):
    """A language model with 33 parameters, smooth, whose Gauss-Newton matrix can be written out."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.nn.Parameter(torch.randn(5, 3, generator=generator).double())
        self.head = torch.nn.Parameter(torch.randn(3, 6, generator=generator).double())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(
            torch.cumsum(self.embedding[ids], dim=1)
        )  # each token sees those before
        return hidden @ self.head


IDS = torch.tensor([[0, 1, 2, 3, 4], [4, 3, 1, 0, 2]])
LABELS = torch.tensor([[9, IGNORED, 9, 9, 9], [9, 9, 9, IGNORED, IGNORED]])  # values do not matter
BEARS_LOSS = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]  # the position before each label


def exact_diagonal(model: SmallModel) -> np.ndarray:
    """``sum_b diag(J_b^T (diag(p_b) - p_b p_b^T) J_b) / B``, position by position."""
    total = 0.0
    for row, position in BEARS_LOSS:
        logits = model(IDS)[row, position]
        jacobian = np.stack(
            [
                np.concatenate([g.flatten() for g in torch.autograd.grad(z, list(model.parameters()),
                                                                         retain_graph=True)])
                for z in logits
            ]
        )  # fmt: skip
        p = logits.softmax(-1).detach().numpy()
        total += np.einsum("vi,vw,wi->i", jacobian, np.diag(p) - np.outer(p, p), jacobian)
    return total / len(BEARS_LOSS)


def test_the_estimate_is_unbiased():
    """Mean over 20 000 draws against the exact diagonal, by the standard error of the mean: for 33
    coordinates together, the largest deviation of an unbiased estimate is below 4.4 standard errors
    in all but 1 of 2 800 cases (Bonferroni)."""
    model, draws = SmallModel(), 20_000
    # All draws at once: the gradient of each is a vector-Jacobian product with its own labels.
    estimates = []
    for step in range(draws // 500):
        many = 500
        uniform = gnb.uniforms(0, step, 0, 2 * many, 5)
        logits = model(IDS)
        free = logits.detach().repeat(many, 1, 1).requires_grad_()
        loss, positions = gnb.sampled_loss(free, LABELS.repeat(many, 1), uniform)
        [cotangents] = torch.autograd.grad(loss, free)
        cotangents = cotangents.view(many, *logits.shape).double()
        assert positions == many * len(BEARS_LOSS)
        gradients = torch.autograd.grad(
            logits, list(model.parameters()), cotangents, is_grads_batched=True
        )
        g_hat = torch.cat([g.flatten(1) for g in gradients], dim=1) / len(BEARS_LOSS)
        estimates.append(len(BEARS_LOSS) * g_hat.numpy() ** 2)
    estimates = np.concatenate(estimates)
    exact = exact_diagonal(model)
    standard_error = estimates.std(axis=0, ddof=1) / np.sqrt(draws)
    assert (standard_error[exact > 1e-12] < 0.05 * exact[exact > 1e-12]).all()  # the test can fail
    deviation = np.abs(estimates.mean(axis=0) - exact)
    assert (deviation <= 4.4 * standard_error + 1e-12).all()


def test_labels_follow_the_softmax_and_only_where_loss_is_borne():
    logits = torch.log(torch.tensor([0.2, 0.5, 0.3])).expand(1, 30_001, 3)
    labels = torch.ones(1, 30_001, dtype=torch.long)
    labels[0, 20_001:] = IGNORED
    loss, positions = gnb.sampled_loss(logits, labels, gnb.uniforms(3, 0, 0, 1, 30_001))
    assert positions == 20_000
    # The mean surprise of labels drawn from p is its entropy; 3.5 standard errors.
    p = np.array([0.2, 0.5, 0.3])
    entropy = -(p * np.log(p)).sum()
    spread = np.sqrt((p * np.log(p) ** 2).sum() - entropy**2)
    assert abs(loss.item() / positions.item() - entropy) < 3.5 * spread / np.sqrt(20_000)


def test_an_impossible_label_is_never_drawn():
    logits = torch.tensor([float("-inf"), 0.0, float("-inf")]).expand(1, 1000, 3)
    uniform = gnb.uniforms(0, 0, 0, 1, 1000)
    uniform[0, 1], uniform[0, 2] = 0.0, np.nextafter(1.0, 0.0)
    loss, _ = gnb.sampled_loss(logits, torch.ones(1, 1000, dtype=torch.long), uniform)
    assert loss.item() == 0.0


@pytest.mark.parametrize("words", [7, 151_936])
def test_labels_are_the_exact_inverse_of_their_numbers(words, monkeypatch):
    """Against the sum in extended precision: a number in the middle of a word's interval draws that
    word, however unlikely it is; so labels have no bias but that of their numbers, 2^-53."""
    monkeypatch.setattr(gnb, "_ROWS", 4)
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(15, words, generator=generator)
    weights = np.exp(logits.numpy().astype(np.longdouble))
    ends = weights.cumsum(-1)
    ends /= ends[:, -1:]
    starts = np.concatenate([np.zeros_like(ends[:, :1]), ends[:, :-1]], axis=1)
    word = torch.randint(words, (15,), generator=generator)
    word[::3] = logits[::3].argmin(-1)  # the least likely
    rows = np.arange(15)
    middle = (starts + ends)[rows, word.numpy()] / 2
    assert torch.equal(gnb.draw(logits, torch.from_numpy(middle.astype(np.float64))), word)


def test_random_numbers_depend_on_seed_step_and_row_and_not_on_the_width():
    numbers = gnb.uniforms(1, 2, 0, 4, 10)
    assert torch.equal(gnb.uniforms(1, 2, 0, 4, 7), numbers[:, :7])
    assert torch.equal(gnb.uniforms(1, 2, 2, 2, 10), numbers[2:])
    others = [
        gnb.uniforms(1, 3, 0, 4, 10),
        gnb.uniforms(2, 2, 0, 4, 10),
        gnb.uniforms(1, 2, 4, 4, 10),
    ]
    for other in others:
        assert not np.isin(other.numpy(), numbers.numpy()).any()
    assert len(numbers.unique()) == 40 and numbers.min() >= 0 and numbers.max() < 1


# --- in the Trainer -------------------------------------------------------------------------------


def trainer_of(base: Path, output: Path, *overrides: str, microbatch: int = 4, processes: int = 1):
    """A FlexTrainer on 16 records and 8 steps of 4, dropout off."""
    wanted = config.load(
        "nano", "sophia", 1,
        overrides=["adapter.dropout=0", "training.epochs=2", "sophia.every=3", "sophia.rho=0.1",
                   "training.learning_rate=1e-3", *overrides],
    )  # fmt: skip
    tokenizer = models.load_tokenizer(base)
    torch.manual_seed(1)
    model = adapters.add(models.load_model(base, wanted.training.precision, "cpu"), wanted.adapter)
    args = training_arguments(wanted.training, output, 1, microbatch=microbatch)
    args.gradient_accumulation_steps = 4 // microbatch // processes
    args.save_strategy = "no"
    trainer = FlexTrainer(
        model=model,
        args=args,
        train_dataset=encoding.encode_all(
            RECORDS["train"], tokenizer, loss_on="all", max_length=128
        ),
        data_collator=encoding.collator(tokenizer.pad_token_id),
        optimizer_cls_and_kwargs=optimizer_class(wanted),
    )
    trainer.estimate_curvature(wanted)
    return trainer


def state_of(trainer: FlexTrainer) -> dict[str, torch.Tensor]:
    """Parameters and curvature after training, as two vectors, and the log."""
    params = [p for p in trainer.model.parameters() if p.requires_grad]
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    return {
        "theta": torch.cat([p.detach().flatten() for p in params]),
        "curvature": torch.cat([optimizer.state[p]["curvature"].flatten() for p in params]),
    }


def trained(*args, **kwargs) -> dict[str, torch.Tensor]:
    trainer = trainer_of(*args, **kwargs)
    with models.quiet():
        trainer.train()
    return state_of(trainer)


def assert_close(a: dict, b: dict, rtol: float = 1e-3) -> None:
    """Vectors as wholes: single coordinates of sign updates may flip where they are almost zero."""
    for name in ("theta", "curvature"):
        assert (a[name] - b[name]).norm() <= rtol * b[name].norm(), name


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory) -> dict[str, torch.Tensor]:
    return trained(base, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("shared", ["false", "true"])
def test_accumulating_a_batch_from_microbatches_is_the_same_training(base, whole, tmp_path, shared):
    option = f"sophia.shared_forward={shared}"
    parts = trained(base, tmp_path / "parts", option, microbatch=1)
    assert_close(parts, whole if shared == "false" else trained(base, tmp_path / "one", option))


def test_curvature_is_that_of_the_plain_loss_at_its_steps(base, tmp_path, monkeypatch):
    """Recomputed by hand after step 1 of 3: no accumulation, no penalty, from the definition."""
    trainer = trainer_of(base, tmp_path, "training.epochs=0.5")  # 2 steps
    seen = []
    plain = FlexTrainer.compute_loss

    def penalised(self, model, inputs, *args, **kwargs):
        seen.append(inputs)
        penalty = sum(p.square().sum() for p in self.model.parameters() if p.requires_grad)
        return plain(self, model, inputs, *args, **kwargs) + 100 * penalty

    def on_step_end(args, state, control, **kwargs):
        if state.global_step == 1:
            model, batch = trainer.model, seen[0]
            logits = model.eval()(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            uniform = gnb.uniforms(1, 0, 0, *batch["labels"].shape)
            loss, positions = gnb.sampled_loss(logits, batch["labels"], uniform)
            params = [p for p in model.parameters() if p.requires_grad]
            g_hat = torch.cat([g.flatten() for g in torch.autograd.grad(loss / positions, params)])
            trainer.expected = 0.01 * positions * g_hat**2
            trainer.got = state_of(trainer)["curvature"].clone()
            model.train()

    monkeypatch.setattr(FlexTrainer, "compute_loss", penalised)
    last = trainer.callback_handler.callbacks[-1]  # after the estimator's own
    assert last is trainer.curvature
    inner = last.on_step_end

    def both(*args, **kwargs):
        inner(*args, **kwargs)
        on_step_end(*args, **kwargs)

    monkeypatch.setattr(last, "on_step_end", both)
    trainer.train()
    assert trainer.expected.norm() > 0
    torch.testing.assert_close(trainer.got, trainer.expected, rtol=1e-3, atol=1e-12)
    # There is no estimate after step 2.
    assert torch.equal(state_of(trainer)["curvature"], trainer.got)
    assert all(p.grad is None for p in trainer.model.parameters())


def test_shared_forward_estimates_at_the_step_own_forward(base, tmp_path):
    """Without dropout it differs from the separate pass by one optimiser step, which is small here;
    and its graph is the one that training uses, whose gradients it must leave alone."""
    tiny_step = ("training.learning_rate=1e-7", "training.epochs=0.25")
    separate = trained(base, tmp_path / "a", *tiny_step)
    shared = trained(base, tmp_path / "b", *tiny_step, "sophia.shared_forward=true")
    assert torch.equal(shared["theta"], separate["theta"])
    assert shared["curvature"].norm() > 0
    assert_close(shared, separate, rtol=1e-2)


def test_the_estimate_takes_no_random_numbers_from_the_training(base, tmp_path):
    """With curvature of no consequence (everything clipped), dropout draws are those of a run without
    any estimate."""
    options = ("adapter.dropout=0.2", "sophia.rho=1e-12")
    estimated = trained(base, tmp_path / "a", *options)
    without = trained(base, tmp_path / "b", *options, "sophia.curvature=constant")
    assert torch.equal(estimated["theta"], without["theta"])


def test_bf16_estimates_what_full_precision_does(base, tmp_path, monkeypatch):
    """Given the same labels: bf16 logits are coarse, so that some draws would differ."""
    one_step, drawn, draw = "training.epochs=0.25", [], gnb.draw
    monkeypatch.setattr(gnb, "draw", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    full = trained(base, tmp_path / "a", one_step)["curvature"]
    [labels] = drawn
    monkeypatch.setattr(gnb, "draw", lambda *args: labels)
    half = trained(base, tmp_path / "b", one_step, "training.precision=bf16")["curvature"]
    assert (half - full).norm() < 0.2 * full.norm()  # squares of gradients of 8 bits
    assert not torch.equal(half, full)  # it was bf16


def _one_of_two(
    rank: int, port: int, base: Path, output: Path, microbatch: int, option: str
) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    state = trained(base, output / "work", option, microbatch=microbatch, processes=2)
    torch.save(state, output / f"rank{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("microbatch", "shared"), [(2, "false"), (1, "false"), (2, "true"), (1, "true")]
)
def test_two_processes_train_as_one(base, whole, tmp_path, microbatch, shared):
    """Data-parallel over gloo; with microbatches of 1, accumulation on top."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    option = f"sophia.shared_forward={shared}"
    pair = [
        tiny.child(_one_of_two, rank, port, base, tmp_path, microbatch, option) for rank in (0, 1)
    ]
    for process in pair:
        process.join()
    assert [process.exitcode for process in pair] == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{rank}") for rank in (0, 1))
    for name in first:
        assert torch.equal(first[name], second[name])
    assert_close(first, whole if shared == "false" else trained(base, tmp_path / "one", option))


# --- a run from its configuration -----------------------------------------------------------------


def make(base: Path, output: Path, arm: str, *overrides: str) -> Path:
    output.mkdir(exist_ok=True)
    train(
        config.load("nano", arm, 1, overrides=["training.epochs=2", *overrides]), base, RECORDS,
        output, checkpoints=output / "checkpoints", progress=False,
    )  # fmt: skip
    return output


def curve(output: Path) -> list[dict[str, str]]:
    with (output / "training.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("arm", "overrides"),
    [
        ("sophia", ["sophia.every=3"]),
        ("sophia", ["sophia.every=3", "sophia.shared_forward=true"]),
        ("sophia-corrected", []),
        ("sophia-released", []),
        ("lion", []),
    ],
)
def test_resumed_is_uninterrupted(base, tmp_path, arm, overrides):
    """From the checkpoint before the last, bit for bit; dropout is on."""
    output = make(base, tmp_path, arm, *overrides)
    weights = output / "adapter" / "adapter_model.safetensors"
    expected, log = weights.read_bytes(), curve(output)
    assert {p.name for p in output.glob("checkpoints/*")} == {"checkpoint-7", "checkpoint-8"}
    shutil.rmtree(output / "checkpoints" / "checkpoint-8")
    shutil.rmtree(output / "adapter")
    make(base, output, arm, *overrides)
    assert weights.read_bytes() == expected
    assert curve(output) == log


def test_the_curve_says_what_curvature_costs_and_how_much_is_clipped(base, tmp_path):
    rows = curve(make(base, tmp_path / "sophia", "sophia", "sophia.every=3"))[1:]
    # Estimates after steps 1, 4 and 7, a pass each.
    assert [float(row["passes"]) for row in rows] == [2, 3, 4, 6, 7, 8, 10, 11]
    assert all(0 <= float(row["unclipped"]) <= 1 for row in rows)
    assert len({row["curvature_norm"] for row in rows}) == 3
    shared = ("sophia.every=3", "sophia.shared_forward=true")
    rows = curve(make(base, tmp_path / "shared", "sophia", *shared))[1:]
    assert [float(row["passes"]) for row in rows] == [1.5, 2.5, 3.5, 5, 6, 7, 8.5, 9.5]
    rows = curve(make(base, tmp_path / "lion", "lion"))[1:]
    assert [float(row["passes"]) for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {row["unclipped"] for row in rows} == {""}


def test_layers_that_recompute_stay_in_training_mode(base):
    """Else the estimate at 7B would hold every activation at once."""
    model = adapters.add(
        models.load_model(base, "fp32", "cpu"), config.load("nano", "sophia", 1).adapter
    )
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    dropouts = [m for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    recomputing = [m for m in model.modules() if type(m).__name__ == "LlamaDecoderLayer"]
    with gnb.without_dropout(model):
        assert dropouts and not any(m.training for m in dropouts)
        assert recomputing and all(m.training for m in recomputing)
    assert all(m.training for m in model.modules())


def test_shared_forward_needs_logits(base, tmp_path, monkeypatch):
    trainer = trainer_of(base, tmp_path, "sophia.shared_forward=true")
    monkeypatch.setattr(type(trainer.model), "forward", lambda *a, **k: {"loss": torch.zeros(())})
    with pytest.raises(FlexError, match="returns no logits to share"):
        trainer.train()


def test_sharded_gradients_are_refused(base, tmp_path):
    trainer = trainer_of(base, tmp_path)
    trainer.is_fsdp_enabled = True
    with pytest.raises(FlexError, match="data-parallel, without FSDP"):
        trainer.estimate_curvature(config.load("nano", "sophia", 1))


def test_lion_without_its_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(FlexError, match="Lion comes from pytorch-optimizer"):
        optimizer_class(config.load("nano", "lion", 1))
    # The others do without it.
    optimizer_class(config.load("nano", "sophia", 1))


def test_sophia_settings_are_part_of_the_run_only_where_sophia_trains():
    ids = {
        name: config.run_id(config.to_dict(config.load("nano", name, 1, overrides=overrides)))
        for name, overrides in (("adamw", ["sophia.rho=0.5"]), ("sophia", ["sophia.rho=0.5"]))
    }
    assert ids["adamw"] == config.run_id(config.to_dict(config.load("nano", "adamw", 1)))
    assert ids["sophia"] != config.run_id(config.to_dict(config.load("nano", "sophia", 1)))
    assert dataclasses.asdict(config.load("nano", "lora", 1))["sophia"] is None
