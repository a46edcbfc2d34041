"""Fine-tuning: transformers.Trainer with an exact validation loss, and checkpoints that a killed
process can trust.

One step minimises the mean cross-entropy over the loss-bearing tokens of ``batch_size`` sequences.
The released loop differs in one respect: it takes one sequence at a time and *sums* the four means
before stepping. Adam's update does not change with the scale of the gradient, so two effects remain:
there each sequence weighs the same, here each token does; and clipping the sum at 1.0 is clipping
our mean at about 0.25.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Trainer, TrainerCallback, TrainingArguments

from flexlib import disk, formats, models
from flexlib.config import Precision, RunConfig, TrainingSettings
from flexlib.errors import FlexError
from flexlib.models import adapters
from flexlib.progress import bar as progress_bar
from flexlib.tasks import training_sets
from flexlib.training import attention, distributed, encoding, fourier
from flexlib.training.loss import chunk_loss
from flexlib.training.optimizers import optimizer_class
from flexlib.training.optimizers.gnb import GaussNewtonBartlett
from flexlib.training.optimizers.sophia import SophiaG

CHECKPOINTS = 10  # a run; what a killed process loses is at most this fraction
_COMPLETE = "complete"  # the file that a checkpoint gets last
# Sequences of like length fill a processor by the time they are eight; more cost padding, and memory that
# is allocated anew. Has no influence on a loss but rounding.
_TOGETHER = 8
_LARGE_VOCABULARY = (
    2**14
)  # words from which the logits of a batch are too many also in a small fp32 run


def train(
    config: RunConfig,
    base: Path,
    records: Mapping[str, Sequence[training_sets.Record]],
    output: Path,
    *,
    checkpoints: Path,
    device: str = "cpu",
    microbatch: int | None = None,
    progress: bool = True,
    model: transformers.PreTrainedModel | None = None,
    arithmetic: Precision | None = None,
    checkpointing: bool = False,
    compiled: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train the adapter of one run into ``output/adapter``, its curve into ``output/training.csv``.

    Killed at any moment and called again, it resumes from the last checkpoint in ``checkpoints``;
    on a CPU, with the same number of threads, the adapter is then the same, bit for bit. Processes that
    were launched together share each batch; the main one writes.

    Args:
        config: with ``training`` and ``adapter`` set.
        base: folder of the base model.
        records: the splits ``train`` and ``validation``.
        microbatch: sequences a forward pass; the batch is accumulated from several. By default the
            whole batch; on a CPU some eight, and one of a flattened batch if the model cannot attend by
            sequence (:mod:`flexlib.training.attention`).
        model: the base model, if it is loaded already; it is left as it was, unless the kind of adapter
            ``changes_base``.
        arithmetic: that ``model`` computes in, as for :func:`flexlib.models.load_model`.
        checkpointing: compute activations again in the backward pass, for a third more time.
        compiled: let torch.compile make the kernels.
        callbacks: to look on.

    Raises:
        FlexError: the model lacks the target modules, or the settings do not fit together.
    """
    settings, adapter = config.method()
    tokenizer = models.load_tokenizer(base)
    examples = {
        split: encoding.encode_all(
            rows, tokenizer, loss_on=settings.loss_on, max_length=settings.max_length
        )
        for split, rows in records.items()
    }
    transformers.set_seed(config.seed)  # adapters begin at random
    if model is None:
        model = models.load_model(base, settings.precision, device, arithmetic=arithmetic)
    large = settings.precision != "fp32" or model.config.vocab_size > _LARGE_VOCABULARY
    # Sophia with shared_forward differentiates the logits of the training step themselves.
    if large and not (config.sophia and config.sophia.shared_forward):
        chunk_loss(model)
    base_model = model
    model = adapters.add(model, adapter)
    start = adapters.start_of(model, adapter)
    model.config.use_cache = False
    if checkpointing:
        with models.quiet():
            model.gradient_checkpointing_enable({"use_reentrant": False})

    resume_from = distributed.from_main(
        last_complete_checkpoint(checkpoints) if distributed.is_main() else None
    )
    by_sequence = settings.packing is not None and not compiled and attention.supported(base_model)
    if settings.packing and device == "cpu" and not by_sequence and microbatch is None:
        microbatch = 1  # not every model keeps the sequences of a row apart
    trainer = FlexTrainer(
        model=model,
        args=training_arguments(
            dataclasses.replace(settings, precision=arithmetic or settings.precision),
            checkpoints,
            config.seed,
            device=device,
            microbatch=microbatch,
            compiled=compiled,
        ),
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        data_collator=encoding.collator(tokenizer.pad_token_id, settings.packing, ends=by_sequence),
        callbacks=[EvaluateAtFractions(settings.evaluations), MarkComplete(), *callbacks],
        optimizer_cls_and_kwargs=optimizer_class(config),
    )
    if config.regularizer:
        factors = fourier.lora_factors(model)
        trainer.regularizer = fourier.Regularizer(config.regularizer, factors, config.seed)
    trainer.estimate_curvature(config)
    accumulated = trainer.args.gradient_accumulation_steps > 1
    trainer.by_length = device == "cpu" and not settings.packing and accumulated
    trainer.args.eval_on_start = resume_from is None
    trainer.remove_callback(transformers.PrinterCallback)
    if progress and distributed.is_main():
        trainer.add_callback(ProgressLine(f"train {config.label} seed {config.seed}"))
    within = attention.by_sequence(base_model) if by_sequence else contextlib.nullcontext()
    with models.quiet(), within:
        trainer.train(resume_from_checkpoint=resume_from)

    weights = None
    if trainer.is_fsdp_enabled:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if distributed.is_main():
        curve = formats.to_csv(formats.TRAINING_FIELDS, curve_rows(trainer.state.log_history))
        disk.write_atomically(output / "training.csv", curve)
        name = config.base_model
        adapters.save(model, output / "adapter", name, start=start, gathered=weights)
    if checkpointing:
        with models.quiet():
            model.gradient_checkpointing_disable()
    vars(base_model).pop("forward", None)  # that of chunk_loss
    adapters.remove(model)


def microbatches(
    settings: TrainingSettings, device: str, microbatch: int | None = None
) -> tuple[int, int]:
    """Sequences a forward pass, and passes that make this process's share of a batch.

    Raises:
        FlexError: the batch cannot be shared by the processes or cut into microbatches.
    """
    share, rest = divmod(settings.batch_size, distributed.processes())
    if rest:
        raise FlexError(
            f"{distributed.processes()} processes do not divide training.batch_size "
            f"{settings.batch_size}; launch another number"
        )
    if microbatch is None and device == "cpu":
        divisors = [n for n in range(1, share + 1) if share % n == 0]
        microbatch = min(divisors, key=lambda n: abs(math.log(n / min(_TOGETHER, share))))
    elif microbatch is None:
        microbatch = share
    microbatch = min(microbatch, share)
    if share % microbatch:
        raise FlexError(
            f"--microbatch {microbatch} does not divide training.batch_size {settings.batch_size}"
            + (f" over {distributed.processes()} processes" if share < settings.batch_size else "")
        )
    return microbatch, share // microbatch


def training_arguments(
    settings: TrainingSettings,
    output: Path,
    seed: int,
    *,
    device: str = "cpu",
    microbatch: int | None = None,
    compiled: bool = False,
) -> TrainingArguments:
    """The settings in the words of transformers.

    Raises:
        FlexError: the batch cannot be shared by the processes or cut into microbatches.
    """
    microbatch, passes = microbatches(settings, device, microbatch)
    arguments = TrainingArguments(
        output_dir=str(output),
        seed=seed,
        data_seed=seed,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        per_device_train_batch_size=microbatch,
        gradient_accumulation_steps=passes,
        torch_compile=compiled,
        ddp_find_unused_parameters=False,
        per_device_eval_batch_size=_TOGETHER,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": settings.final_lr_fraction},
        warmup_steps=settings.warmup_steps,
        optim="adamw_torch_fused",  # unless flexlib.training.optimizers names a class
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        save_strategy="steps",
        save_steps=1 / CHECKPOINTS,
        save_total_limit=2,  # the one before stays until the newest is marked complete
        logging_steps=1,
        logging_nan_inf_filter=False,  # a diverging run is to be seen as such
        include_num_input_tokens_seen="non_padding",
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # or one process would put a batch on every GPU in sight
    return arguments


def curve_rows(log_history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The Trainer's log as one row a step, in the columns of ``formats.TRAINING_FIELDS``."""
    names = {"learning_rate": "lr", "num_input_tokens_seen": "tokens"}
    rows: dict[int, dict[str, Any]] = {}
    for entry in log_history:
        if "loss" in entry or "eval_loss" in entry:
            rows.setdefault(entry["step"], {}).update(
                {names.get(key, key): value for key, value in entry.items()}
            )
    return [rows[step] for step in sorted(rows)]


class ByLength(torch.utils.data.Sampler[int]):
    """The order of another sampler, in which each batch is then sorted by length."""

    def __init__(self, shuffled: Any, lengths: Sequence[int], batch: int) -> None:
        self.shuffled, self.lengths, self.batch = shuffled, lengths, batch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = list(self.shuffled)
        for first in range(0, len(order), self.batch):
            yield from sorted(order[first : first + self.batch], key=self.lengths.__getitem__)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.shuffled.set_epoch(epoch)


class FlexTrainer(Trainer):
    """The Trainer, with a validation loss that does not depend on how the set is cut into batches, and
    with a penalty on the adapter and curvature for Sophia where they are asked for."""

    model: Any
    regularizer: fourier.Regularizer | None = None
    penalty: torch.Tensor | None = None  # of the last training step
    curvature: GaussNewtonBartlett | None = None
    by_length = False  # whether a batch is put in the order of its lengths

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy and, in training, the penalty."""
        result: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.regularizer is None or not model.training:
            return result
        penalty = self.regularizer()
        self.penalty = penalty.detach()
        # With num_items_in_batch the cross-entropies of a step's microbatches add up to its mean, and
        # so must the penalties. Without, the Trainer divides the sum of both.
        if num_items_in_batch is not None:
            penalty = penalty / self.current_gradient_accumulation_steps
        return (result[0] + penalty, result[1]) if return_outputs else result + penalty

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """The library's. Where a padded batch is cut into microbatches on a CPU, its sequences stand in the
        order of their lengths: the same batches, with less padding."""
        loader: Any = super().get_train_dataloader()
        args = self.args
        # The curvature's labels are drawn by place in the batch. A model that knows nothing of the whole
        # batch has a mean for each microbatch, in which short sequences would weigh more.
        if self.by_length and not self.curvature and self.model_accepts_loss_kwargs:
            batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            examples: Any = self.train_dataset
            lengths = [len(example["input_ids"]) for example in examples]
            # Wherever accelerate has put its own, which knows the epoch, also in one that was resumed.
            loader.set_sampler(ByLength(loader.get_sampler(), lengths, batch))
        return loader

    def estimate_curvature(self, config: RunConfig) -> None:
        """Estimate the curvature while training, if the configuration asks for it."""
        if config.sophia and config.sophia.curvature == "gnb":
            self.curvature = GaussNewtonBartlett(
                self,
                every=config.sophia.every,
                seed=config.seed,
                shared_forward=config.sophia.shared_forward,
            )

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        if self.curvature:
            self.curvature.keep(inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log every step with the parts of its loss and what its optimiser has to say."""
        if "loss" in logs:
            if self.penalty is not None:
                logs["penalty"] = self.penalty.item()
                logs["ce"] = logs["loss"] - logs["penalty"]
            steps = self.state.global_step
            logs["passes"] = steps + (self.curvature.passes(steps) if self.curvature else 0)
            optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
            if isinstance(optimizer, SophiaG):
                logs |= optimizer.diagnostics()
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Mean cross-entropy a loss-bearing token of the validation set, in nats. (The Trainer's own
        averages the means of batches, whose token counts differ.)"""
        model: Any = self.model.eval()
        if self.optimizer is not None:
            # A schedule-free one trains other weights than the average that is its result. The Trainer goes
            # back to those before a step; the last step is followed by an evaluation, and then stored.
            self.optimizer.eval()  # type: ignore[attr-defined]
        total, tokens = 0.0, 0
        with torch.no_grad():
            for batch in self._evaluation_batches():
                batch = self._prepare_inputs(batch)
                count = int((batch["labels"][:, 1:] != encoding.IGNORED).sum())
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, batch)
                total += loss.item() * count
                tokens += count
        metrics = {"eval_loss": total / tokens}
        self.log(metrics)
        return metrics

    def _evaluation_batches(self) -> Iterable[dict[str, torch.Tensor]]:
        """The whole set, on every process: the Trainer's own loader would give each of several a part.

        Neighbours of like length, padded, whatever the packing of the training: laid end to end under
        one mask, attention grows with the square of a batch.
        """
        examples: Any = self.eval_dataset
        examples = sorted(examples, key=lambda example: len(example["input_ids"]))
        return torch.utils.data.DataLoader(
            examples,
            batch_size=self.args.per_device_eval_batch_size,
            collate_fn=encoding.collator(pad_token_id=0),  # masked, so any token serves
        )


class EvaluateAtFractions(TrainerCallback):
    """Evaluate at 1/n, 2/n, ... n/n of the steps, so that runs of any length share their points."""

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        points = {
            round(state.max_steps * k / self.evaluations) for k in range(1, self.evaluations + 1)
        }
        control.should_evaluate = state.global_step in points


class MarkComplete(TrainerCallback):
    """Write the last file of a checkpoint: one without it was cut short and is not resumed from."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        distributed.wait()  # each process writes a file or two
        if distributed.is_main():
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _COMPLETE).touch()


class ProgressLine(TrainerCallback):
    """Steps and loss (see :mod:`flexlib.progress`)."""

    def __init__(self, description: str) -> None:
        self.description = description

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = progress_bar(
            self.description, "step", state.max_steps, initial=state.global_step
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()


def last_complete_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; those that were not are removed."""
    complete = {}
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _COMPLETE).exists():
            complete[int(checkpoint.name.rpartition("-")[2])] = checkpoint
        else:
            shutil.rmtree(checkpoint)
    return str(complete[max(complete)]) if complete else None
