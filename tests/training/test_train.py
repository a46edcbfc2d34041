"""Training: the numbers are the definition's, the seed decides, and a kill changes nothing."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
from pathlib import Path

import pytest
import tiny
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches

from flexlib import config, models
from flexlib.analysis import spectra
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.training import attention, encoding, fourier
from flexlib.training.trainer import ByLength, FlexTrainer, train, training_arguments

RECORDS = {"train": tiny.records(40), "validation": tiny.records(5)}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.make_base(tmp_path_factory.mktemp("base"))


def make(base: Path, output: Path, seed: int = 1, **kwargs) -> Path:
    overrides, arm = kwargs.pop("overrides", ()), kwargs.pop("arm", "lora")
    records = kwargs.pop("records", RECORDS)
    output.mkdir(exist_ok=True)
    shutil.rmtree(output / "adapter", ignore_errors=True)
    wanted = config.load("nano", arm, seed, overrides=overrides)
    train(
        wanted, base, records, output, checkpoints=output / "checkpoints", progress=False, **kwargs
    )
    return output


def weights(output: Path) -> bytes:
    return (output / "adapter" / "adapter_model.safetensors").read_bytes()


def curve(output: Path) -> list[dict[str, str]]:
    with (output / "training.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> Path:
    return make(base, tmp_path_factory.mktemp("run") / "once")


def test_the_seed_decides_every_bit(base, trained, tmp_path):
    assert weights(make(base, tmp_path / "again")) == weights(trained)
    assert weights(make(base, tmp_path / "other", seed=2)) != weights(trained)


def test_curve_has_a_row_a_step_and_validation_at_fixed_fractions(trained):
    rows = curve(trained)
    steps = [int(row["step"]) for row in rows]
    assert steps == list(range(31))  # 40 records, batch 4, 3 epochs, and step 0
    evaluated = [int(row["step"]) for row in rows if row["eval_loss"]]
    assert evaluated == [0] + [30 * k // 6 for k in range(1, 7)]
    rates = [float(row["lr"]) for row in rows[1:]]
    peak = config.load("nano", "lora", 1).training.learning_rate
    assert rates[0] == pytest.approx(peak)
    assert rates == sorted(rates, reverse=True)
    assert 0.05 * peak <= rates[-1] < 0.055 * peak
    tokens = [int(row["tokens"]) for row in rows]
    assert tokens == sorted(tokens)
    assert float(rows[-1]["eval_loss"]) < float(rows[0]["eval_loss"])


def test_validation_loss_is_the_mean_over_tokens(base, trained):
    """Against the definition, one sequence at a time: no padding, no batches."""
    tokenizer = models.load_tokenizer(base)
    model = models.load_model(base, "fp32", "cpu")
    total, count = 0.0, 0
    for record in RECORDS["validation"]:
        ids = encoding.encode(record, tokenizer, loss_on="all", max_length=256)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].double()
        total += torch.nn.functional.cross_entropy(
            logits, torch.tensor(ids[1:]), reduction="sum"
        ).item()
        count += len(ids) - 1
    assert float(curve(trained)[0]["eval_loss"]) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("packing", ["none", "flatten"])
def test_validation_reads_the_records_and_little_else(base, tmp_path, monkeypatch, packing):
    """Whatever the packing and the order: no row longer than a record, and no padding where lengths
    are alike. The value is that of records read one by one."""
    shapes, losses, plain = [], {}, FlexTrainer.compute_loss

    def seen(self, model, inputs, *args, **kwargs):
        loss = plain(self, model, inputs, *args, **kwargs)
        if not model.training and self.state.global_step == 0:
            shapes.append(tuple(inputs["input_ids"].shape))
            if inputs["input_ids"].shape[0] == 1:
                losses[inputs["labels"].shape[1] - 1] = loss.item()
        return loss

    monkeypatch.setattr(FlexTrainer, "compute_loss", seen)
    rows = tiny.records(16)
    for row in rows[::2]:
        row["text"] += " Say so twice, and then once more."
    long, short = (
        len(
            encoding.encode(r, models.load_tokenizer(base), loss_on="all", max_length=512)[
                "input_ids"
            ]
        )
        for r in rows[:2]
    )
    records = {"train": RECORDS["train"], "validation": rows[:2] * 8}
    overrides = ["training.precision=bf16", f"training.packing={packing}"]
    whole = make(base, tmp_path / "whole", records=records, overrides=overrides)
    assert sorted(shapes) == [(8, short), (8, long)]
    shapes.clear()
    records["validation"] = rows[:2]
    monkeypatch.setattr("flexlib.training.trainer._TOGETHER", 1)
    make(base, tmp_path / "one", records=records, overrides=overrides)
    assert shapes == [(1, short), (1, long)]
    mean = sum(tokens * loss for tokens, loss in losses.items()) / sum(losses)
    assert float(curve(whole)[0]["eval_loss"]) == pytest.approx(mean, rel=1e-4)


def test_accumulating_a_batch_from_microbatches_is_the_same_training(base, trained, tmp_path):
    overrides = ["adapter.dropout=0"]  # dropout draws differ with the shape of the forward pass
    whole = make(base, tmp_path / "whole", overrides=overrides)
    parts = make(base, tmp_path / "parts", overrides=overrides, microbatch=1)
    for a, b in zip(curve(whole)[1:], curve(parts)[1:], strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
        assert float(a["grad_norm"]) == pytest.approx(float(b["grad_norm"]), rel=1e-3)


def test_microbatches_of_like_length_are_of_the_same_batches(base, tmp_path, monkeypatch):
    """In both epochs: what is read in a step, its loss, and less padding."""
    wanted = ["adapter.dropout=0", "training.batch_size=12", "training.epochs=2"]
    records = [r | {"code": r["code"] * (1 + i % 3)} for i, r in enumerate(RECORDS["train"])]
    run = {"overrides": wanted, "records": RECORDS | {"train": records}}
    read, collator = [], encoding.collator

    def watched(*args, **options):
        def collate(examples):
            batch = collator(*args, **options)(examples)
            if args:  # training's, not validation's
                read[-1].append(batch["attention_mask"])
            return batch

        return collate

    curves = []
    for microbatch in (12, None):
        read.append([])
        with monkeypatch.context() as patch:
            patch.setattr(encoding, "collator", watched)
            output = tmp_path / str(microbatch)
            make(base, output, microbatch=microbatch, **run)
        curves.append(curve(output)[1:])
    rows = [[len(mask) for mask in masks] for masks in read]
    assert rows == [[12, 12, 12, 4] * 2, [6, 6, 6, 6, 6, 6, 4] * 2]
    whole, parts = (sum(mask.numel() for mask in masks) for masks in read)
    assert parts < whole
    for a, b in zip(*curves, strict=True):
        assert a["tokens"] == b["tokens"]
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
        assert float(a["grad_norm"]) == pytest.approx(float(b["grad_norm"]), rel=1e-3)


@pytest.mark.parametrize("why", ["curvature", "loss", "whole", "packed"])
def test_batches_keep_their_order_where_it_counts_or_gains_nothing(
    base, tmp_path, monkeypatch, why
):
    """Sophia's labels are drawn by place; a model without the count of the whole batch has means of parts."""
    monkeypatch.setattr("flexlib.training.trainer.ByLength", None)
    options = {"overrides": ["training.batch_size=12", "training.epochs=1"]}
    if why == "curvature":
        options["arm"] = "sophia"
    elif why == "loss":
        accepts = property(lambda self: False, lambda self, value: None)
        monkeypatch.setattr(FlexTrainer, "model_accepts_loss_kwargs", accepts, raising=False)
    elif why == "whole":
        options["microbatch"] = 12
    else:
        options["overrides"].append("training.packing=flatten")
    make(base, tmp_path / "run", **options)


def test_a_row_is_not_made_for_a_model_that_cannot_attend_by_sequence(base, tmp_path, monkeypatch):
    rows, collator = [], encoding.collator

    def watched(*args, **options):
        def collate(examples):
            rows.append(len(examples) if args else 1)  # of training, not of validation
            return collator(*args, **options)(examples)

        return collate

    monkeypatch.setattr(encoding, "collator", watched)
    options = {"overrides": ["training.packing=flatten", "training.epochs=1"]}
    make(base, tmp_path / "row", **options)
    assert max(rows) == 4
    monkeypatch.setattr(attention, "supported", lambda model: False)
    rows.clear()
    make(base, tmp_path / "alone", **options)
    assert set(rows) == {1}


def test_sorted_batches_resumed_in_a_later_epoch_are_identical(base, tmp_path):
    options = {"overrides": ["training.batch_size=12", "training.epochs=2"]}
    output = make(base, tmp_path / "run", **options)
    once, log = weights(output), curve(output)
    assert {p.name for p in output.glob("checkpoints/*")} == {"checkpoint-7", "checkpoint-8"}
    shutil.rmtree(output / "checkpoints" / "checkpoint-8")  # four steps an epoch
    assert weights(make(base, output, **options)) == once
    assert curve(output) == log


@pytest.mark.parametrize("processes", [1, 2])
def test_sorted_batches_know_the_epoch_that_is_resumed(processes):
    """Each process of accelerate's, without the processes: what is left of epoch 1 after a batch is skipped."""
    lengths = random.Random(1).sample(range(100), 48)

    def loaders():
        for index in range(processes):
            whole = torch.utils.data.DataLoader(range(48), batch_size=4, shuffle=True)
            loader = prepare_data_loader(
                whole, num_processes=processes, process_index=index, use_seedable_sampler=True,
                data_seed=3, put_on_device=False,
            )  # fmt: skip
            loader.set_sampler(ByLength(loader.get_sampler(), lengths, 8 * processes))
            yield loader

    def read(loader, epoch):
        loader.set_epoch(epoch)
        inner = getattr(loader.batch_sampler, "batch_sampler", None)
        if hasattr(inner, "set_epoch"):  # as the Trainer does
            inner.set_epoch(epoch)
        return [batch.tolist() for batch in loader]

    for loader, resumed in zip(loaders(), loaders(), strict=True):
        first, second = read(loader, 0), read(loader, 1)
        assert first != second and len(second) == 12 // processes
        assert read(skip_first_batches(resumed, 2), 1) == second[2:]
        for one, other in zip(second[::2], second[1::2], strict=True):
            of_batch = [lengths[i] for i in one + other]
            assert processes > 1 or of_batch == sorted(of_batch)


def test_completion_loss_leaves_the_prompt_out(base, trained, tmp_path):
    masked = make(base, tmp_path / "masked", overrides=["training.loss_on=completion"])
    assert curve(masked)[0]["eval_loss"] != curve(trained)[0]["eval_loss"]
    # Tokens are what the model reads, which is the same.
    assert curve(masked)[-1]["tokens"] == curve(trained)[-1]["tokens"]


def test_adapter_is_pefts_and_names_no_path(base, trained):
    model = adapters.load(models.load_model(base, "fp32", "cpu"), trained / "adapter", merge=False)
    assert any(p.abs().sum() > 0 for n, p in model.named_parameters() if "lora_B" in n)
    written = json.loads((trained / "adapter" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == "data/nano/base"
    assert sorted(p.name for p in (trained / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_random_moments_and_resumed_is_identical(base, trained, tmp_path, sent):
    """Three kills, each somewhere between the first file that is written and the last."""
    output, rng = tmp_path / "killed", random.Random(int(sent))
    codes = [  # a training that is not interrupted touches its folder 166 times
        tiny.killed(make, base, output, folder=output, after=rng.randint(1, 120), sent=sent)
        for _ in range(3)
    ]
    assert any(codes)
    assert weights(make(base, output)) == weights(trained)
    assert curve(output) == curve(trained)


def test_a_checkpoint_cut_short_is_not_resumed_from(base, trained, tmp_path):
    output = make(base, tmp_path / "whole")
    expected = weights(output)
    newest = output / "checkpoints" / "checkpoint-30"
    assert newest.is_dir()
    (newest / "complete").unlink()
    (newest / "optimizer.pt").write_bytes(b"half")
    assert weights(make(base, output)) == expected


def test_lora_targets_must_exist(base):
    model = models.load_model(base, "fp32", "cpu")
    settings = config.load("nano", "lora", 1, overrides=["adapter.target_modules=query"]).adapter
    with pytest.raises(FlexError, match=r"no module 'query'.*q_proj") as error:
        adapters.add(model, settings)
    assert "\n" not in str(error.value)


def test_microbatch_must_divide_the_batch(tmp_path):
    settings = config.load("nano", "lora", 1).training
    with pytest.raises(FlexError, match="does not divide"):
        training_arguments(settings, tmp_path, 1, microbatch=3)


def test_a_cpu_takes_few_sequences_at_once(tmp_path):
    for packing, size, together in (
        ("none", 4, 4),
        ("none", 48, 8),
        ("none", 28, 7),
        ("none", 22, 11),
        ("none", 13, 13),
        ("flatten", 4, 4),
    ):
        overrides = [f"training.packing={packing}", f"training.batch_size={size}"]
        settings = config.load("nano", "lora", 1, overrides=overrides).training
        args = training_arguments(settings, tmp_path, 1)
        assert args.per_device_train_batch_size == together
        assert args.per_device_train_batch_size * args.gradient_accumulation_steps == size


def test_in_bf16_a_resumed_run_is_identical(base, tmp_path):
    """As a real code model is trained on a CPU: flattened, the loss in chunks, with dropout."""
    options = {"overrides": ["training.precision=bf16", "training.packing=flatten"]}
    output = make(base, tmp_path / "run", **options)
    once, log = weights(output), curve(output)
    assert {p.name for p in output.glob("checkpoints/*")} == {"checkpoint-27", "checkpoint-30"}
    shutil.rmtree(output / "checkpoints" / "checkpoint-30")
    assert weights(make(base, output, **options)) == once
    assert curve(output) == log


def test_lora_starts_as_the_base_model(base):
    model = models.load_model(base, "fp32", "cpu")
    ids = torch.tensor([[5, 9, 30, 7]])
    with torch.no_grad():
        before = model(ids).logits
        after = adapters.add(model, config.load("nano", "lora", 1).adapter).eval()(ids).logits
    assert torch.equal(before, after)


# --- with a penalty -----------------------------------------------------------------------------

STRONG = "regularizer.strength=0.3"  # as large as the cross-entropy's gradient, about


@pytest.fixture(scope="module", params=["fourier-released", "fourier-delta", "fourier-orthogonal"])
def penalised(request, base, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("run") / "once"
    return request.param, make(base, folder, arm=request.param, overrides=[STRONG])


def test_the_loss_is_logged_in_its_parts(base, trained, penalised):
    arm, output = penalised
    rows = curve(output)
    assert not any(row["penalty"] for row in curve(trained))
    for row in rows[1:]:
        assert float(row["loss"]) == pytest.approx(float(row["ce"]) + float(row["penalty"]))
        assert float(row["penalty"]) >= 0
    # The first step starts where plain LoRA does, and so does validation, which has no penalty.
    assert rows[0]["eval_loss"] == curve(trained)[0]["eval_loss"]
    assert float(rows[1]["ce"]) == pytest.approx(float(curve(trained)[1]["loss"]), rel=1e-5)
    if arm != "fourier-delta":  # nothing to press on while B is zero
        assert float(rows[1]["penalty"]) > 0
        assert float(rows[-1]["penalty"]) < 0.99 * float(rows[1]["penalty"])


def test_the_logged_penalty_is_that_of_the_adapter(base, tmp_path):
    """At a learning rate of nearly nothing, the last step's adapter is the one that is saved."""
    overrides = ["training.learning_rate=1e-12", "training.epochs=1"]
    output = make(base, tmp_path / "still", arm="fourier-released", overrides=overrides)
    expected = 0.01 * fourier.penalty(fourier.RELEASED, spectra.read_adapter(output / "adapter"))
    assert float(curve(output)[-1]["penalty"]) == pytest.approx(expected.item(), rel=1e-5)


def test_accumulation_divides_the_penalty(base, penalised, tmp_path):
    arm, _ = penalised
    overrides = ["adapter.dropout=0", STRONG]
    whole = make(base, tmp_path / "whole", arm=arm, overrides=overrides)
    parts = make(base, tmp_path / "parts", arm=arm, overrides=overrides, microbatch=1)
    for a, b in zip(curve(whole)[1:], curve(parts)[1:], strict=True):
        for name, tolerance in (("ce", 1e-4), ("penalty", 1e-4), ("grad_norm", 1e-3)):
            assert float(a[name]) == pytest.approx(float(b[name]), rel=tolerance, abs=1e-7), name


def test_with_a_penalty_a_resumed_run_is_identical(base, penalised, tmp_path):
    arm, once = penalised
    output = make(base, tmp_path / "resumed", arm=arm, overrides=[STRONG])
    shutil.rmtree(output / "checkpoints" / "checkpoint-30")
    assert (output / "checkpoints" / "checkpoint-27").is_dir()  # what it goes on from
    assert weights(make(base, output, arm=arm, overrides=[STRONG])) == weights(once)
    assert curve(output) == curve(once)
