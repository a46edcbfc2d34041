"""What one run is: frozen settings, checked when they are made (:mod:`flexlib.config.checked`).

Only what can change a result is part of it; where files lie, the batch size of generation and the
like belong to :class:`flexlib.runs.machine.Machine`. An option that is added later defaults to None:
fields that are None are no part of a run's identity, so the runs of before keep their ids.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from flexlib.config.adapters import Adapter
from flexlib.config.checked import STRICT, Names, Pair

Precision = Literal["fp32", "bf16", "fp16"]
Convention = Literal["nyquist", "index"]
Basis = Literal["fourier", "permuted", "orthogonal"]
Axis = Literal["units", "inputs", "outputs", "rank", "whole-A"]

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

# Filled when the files are read; no table sets it.
_READ = {"settable": False}


@dataclass(frozen=True, config=STRICT)
class TrainingSettings:
    """How the adapter is trained; the defaults are the released MBPP round."""

    dataset: str
    train_limit: Count | None = None  # first records only, for quick looks
    loss_on: Literal["all", "completion"] = "all"  # the released loop trains on the prompt too
    packing: Literal["flatten"] | None = None  # a batch as one row without padding; None: padded
    max_length: Annotated[int, Field(ge=2)] = 512  # tokens; longer texts are cut
    epochs: Positive = 3.0
    steps: Count | None = None  # optimiser steps instead of epochs
    batch_size: Count = 4  # sequences an optimiser step, over all devices and accumulation
    optimizer: Literal["adamw", "sophia", "lion", "muon", "schedule-free"] = "adamw"
    learning_rate: Positive = 2e-4
    final_lr_fraction: Share = 0.05  # cosine from 2e-4 down to 1e-5
    warmup_steps: Annotated[int, Field(ge=0)] = (
        0  # 100 are configured in the release, none applied by its loop
    )
    betas: Pair = (0.9, 0.999)
    weight_decay: NotNegative = 0.01
    max_grad_norm: Positive = 1.0
    precision: Precision = "fp32"
    evaluations: Count = (
        6  # validation losses, evenly spaced over training, after the one at step 0
    )
    digest: str | None = field(default=None, metadata=_READ)  # of training and validation records


@dataclass(frozen=True, config=STRICT)
class DataSettings:
    """What becomes of the training set before it is trained on; the validation set stays as it is."""

    size: Count | None = None  # records, drawn at random; a smaller draw is a part of a larger one
    subset_seed: int | None = None  # of the draw; None: the run's
    transform: str | None = None  # a key of flexlib.tasks.transforms.TRANSFORMS
    share: Share | None = (
        None  # of the records that are transformed, drawn by the run's seed; None: all
    )


@dataclass(frozen=True, config=STRICT)
class RegularizerSettings:
    """Quadratic penalty on the LoRA factors or their product; defined in :mod:`flexlib.training.fourier`.

    The defaults are the released ones, but for ``form``, which has none.
    """

    form: Literal["factor", "delta", "l2", "rank", "nuclear"]
    strength: float = 0.01  # lambda
    matched: bool = False  # multiply by what makes it press as hard as the released penalty
    threshold: float = 0.5
    low_weight: float = 1.0
    high_weight: float = 0.1
    convention: Convention = "nyquist"
    bands: Literal["rectangular", "radial"] = "rectangular"  # of two-dimensional transforms
    basis: Basis = "fourier"
    axis: Axis | None = None  # of basis=permuted: what is renumbered; None: the whole index
    layout_A: Literal["columns"] | None = (
        None  # how a factor is flattened; None: by rows, as stored
    )
    layout_B: Literal["columns"] | None = None
    transform: Literal["last-axis", "both-axes"] | None = None  # of a factor; None: flattened
    average: Literal["harmonic"] | None = None  # of bins, in the rank form; None: arithmetic
    A_as: Literal["factor"] | None = None  # what A gets in the rank form; None: L2
    equal_norm: str | None = None  # the arm whose final norm the strength is to reach: calibration


@dataclass(frozen=True, config=STRICT)
class SophiaSettings:
    """What SophiaG has beside AdamW (flexlib.training.optimizers.sophia); the
    defaults are its authors'."""

    rho: float = 0.04
    eps: float = 1e-15
    curvature: Literal["gnb", "constant"] = "gnb"
    every: int = 10  # steps from one curvature estimate to the next
    bias_correction: bool = False
    shared_forward: bool = False  # estimate from the training step's own forward pass


# Problems that are decoded together in beam sampling, which draws for all of them at once: part of what it
# yields, and so not the machine's choice.
BEAM_SAMPLING_BATCH = 8


@dataclass(frozen=True, config=STRICT)
class BenchmarkSettings:
    """One benchmark in one language, and how its programs are decoded."""

    name: str = field(metadata=_READ)
    language: str
    samples: Count = 1  # completions a problem
    temperature: NotNegative = 0.0  # 0 is greedy
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count = 256
    precision: Precision = "fp32"
    merge_adapter: bool = False  # fold (alpha / rank) B A into the weights before decoding
    top_k: Count | None = None  # sample among the k likeliest tokens
    num_beams: int | None = None  # beam search of this width; with a temperature, beam sampling
    length_penalty: float | None = None  # of beam search: scores are divided by length**penalty
    early_stopping: bool | None = None  # of beam search: end once num_beams candidates are complete
    repetition_penalty: float | None = (
        None  # of tokens in prompt or completion (Keskar et al. 2019)
    )
    stop: Names | None = None  # ends a completion; None: the benchmark's own stop strings
    # What is graded of a completion (flexlib.tasks.answers): up to a line that begins with three backticks.
    cut_at_fence: bool | None = None
    # How the model is asked: None to continue the prompt, else in its chat format.
    protocol: Literal["chat", "chat-published"] | None = None
    digest: str | None = field(default=None, metadata=_READ)  # sha256 of the problems


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that determines the result of one run.

    ``digest`` fields are filled by :func:`flexlib.runs.preflight.resolve`, which reads the files; until then
    the run has no identity.
    """

    profile: str
    arm: str
    seed: int
    # A name for readers. The digest of the files is the identity, so that a copy in another folder
    # is the same model.
    base_model: str = dataclasses.field(metadata={"identity": False})
    benchmarks: tuple[BenchmarkSettings, ...]
    training: TrainingSettings | None  # None: the base model as it is
    adapter: Adapter | None
    regularizer: RegularizerSettings | None = None
    sophia: SophiaSettings | None = None  # set where training.optimizer is sophia
    data: DataSettings | None = None  # None: the training set as it is
    base_revision: str | None = None  # of a hub id
    # A GGUF file of that repository, and its sha256. Its digest is the base's identity.
    base_file: str | None = dataclasses.field(default=None, metadata={"identity": False})
    base_sha256: str | None = dataclasses.field(default=None, metadata={"identity": False})
    limit: int | None = None  # first problems of each benchmark only
    variant: str | None = None  # the overrides that made a difference, as text
    # What is to be tuned of the arm and has no value yet, by key: such an arm is not run.
    untuned: tuple[str, ...] | None = None
    base_digest: str | None = None
    adapter_digest: str | None = (
        None  # of an adapter that was trained elsewhere and is run as it is
    )

    @property
    def label(self) -> str:
        """The arm, with its overrides if there are any: what tables group by."""
        return f"{self.arm} {self.variant}" if self.variant else self.arm

    def method(self) -> tuple[TrainingSettings, Adapter]:
        """How an adapter is trained, and which: of an arm that trains one."""
        if self.training is None or self.adapter is None:
            raise ValueError(f"the arm {self.arm} trains nothing")
        return self.training, self.adapter

    @property
    def is_random(self) -> bool:
        """Whether the seed makes a difference: it does in training and in sampling."""
        return self.training is not None or any(b.temperature > 0 for b in self.benchmarks)
