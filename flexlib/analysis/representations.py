"""Hidden states of one task in two languages: how alike they are, layer by layer.

Prompts of one benchmark's tasks in Python and in Java are read by a model; a pair of prompts that ask for the
same function are twins. ``layer`` 0 is the embedding, 1 to L what each block leaves (the last one after
the final norm, as transformers gives it). A prompt has two states in each layer:

``last``
    that of its last token, the primary one. The model is causal, so this state alone has read the whole
    prompt, and the answer's first token is computed from it. Its embedding is the same for all tasks:
    what tells them apart in it was computed, not copied.
``mean``
    over all tokens. Twins share the words of their description, so that it is alike for twins before
    any layer has done anything: layer 0 is a comparison of bags of words.

With each number comes what it is when pairs are shuffled (for the probe: labels swapped at random in pairs).

:func:`of_languages` compares every two languages that the tasks are there in, by the primary state, asked or
not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flexlib import models
from flexlib.errors import FlexError
from flexlib.models import adapters, speed
from flexlib.runs import store
from flexlib.runs.machine import Machine
from flexlib.runs.regrade import problems_of
from flexlib.tasks.benchmarks import SIBLINGS, TWINS, load_benchmark

STATES = ("last", "mean")
PRIMARY = "last"
DRAWS = 40  # of the null: its mean is known to a sixth of its standard deviation
FOLDS = 5
RIDGE = 0.01  # of the probe, as a share of the mean variance of a feature
_BATCH = 50
_TIE = 1e-9  # similarities that differ by less are equal


def of_run(run: Path, machine: Machine) -> list[dict[str, Any]] | None:
    """The rows of a stored run, as :func:`of_states` has them; None for a run that was not asked in both
    languages of a row of `TWINS`.

    Raises:
        FlexError: it trained and has no adapter, as a compact run; its base model or a benchmark is not
            the one that it was made with.
    """
    config = store.read_config(run)
    twins = next((pair for pair in TWINS.values() if set(pair) <= set(config["benchmarks"])), None)
    if twins is None:
        return None
    sides = [{task(p.task_id): p.prompt for p in problems_of(run, name, machine)} for name in twins]
    shared = [name for name in sides[0] if name in sides[1]]
    model, tokenizer = _model_of(run, machine, twins[0])
    read = [states_of(model, tokenizer, [side[name] for name in shared]) for side in sides]
    return of_states(*read)


def of_languages(run: Path, machine: Machine) -> list[dict[str, Any]] | None:
    """Every two languages of a row of `SIBLINGS` on the tasks that all of them have, for the run of a model
    that was asked the first: the columns ``first, second, layer, quantity, value, null`` with `cka` and
    `retrieval` of the primary state.

    Raises:
        FlexError: as for :func:`of_run`; a benchmark that the machine does not have.
    """
    config = store.read_config(run)
    of = next((names for names in SIBLINGS.values() if names[0] in config["benchmarks"]), None)
    if of is None:
        return None
    problems = [
        problems_of(run, name, machine)
        if name in config["benchmarks"]
        else load_benchmark(name, machine.data_dir, config.get("limit"))
        for name in of
    ]
    prompts = {some[0].language: {task(p.task_id): p.prompt for p in some} for some in problems}
    shared = [
        name for name in next(iter(prompts.values())) if all(name in p for p in prompts.values())
    ]
    _need(shared)
    model, tokenizer = _model_of(run, machine, of[0])
    states = {
        language: states_of(model, tokenizer, [side[name] for name in shared])[PRIMARY]
        for language, side in prompts.items()
    }
    return [
        {"first": first, "second": second} | row
        for first, second in itertools.combinations(states, 2)
        for row in _compared(states[first], states[second], (cka, retrieval), 0)
    ]


def _model_of(run: Path, machine: Machine, benchmark: str) -> tuple[Any, Any]:
    """The model of a run, in the precision that it was asked a benchmark with, and its tokenizer."""
    config = store.read_config(run)
    adapter = store.adapter_folder(run)
    folder = models.locate(
        config["base_model"],
        revision=config.get("base_revision"),
        file=config.get("base_file"),
        sha256=config.get("base_sha256"),
        folder=machine.base_model,
    )
    if models.digest(folder) != config["base_digest"]:
        raise FlexError(
            f"{folder} is not the base of run {run.name}; name that one by --base-model"
        )
    precision = config["benchmarks"][benchmark]["precision"]
    device = models.pick_device(machine.device)
    model: Any = models.load_model(
        folder, precision, device, arithmetic=speed.arithmetic(precision, device)
    )
    if adapter:
        model = adapters.load(model, adapter, merge=False)
    return model, models.load_tokenizer(folder)


def task(task_id: str) -> str:
    """What twins have in common: MultiPL-E numbers HumanEval's tasks as HumanEval does, with other marks."""
    return re.sub(r"^HumanEval[/_](\d+).*", r"HumanEval/\1", task_id)


@torch.inference_mode()
def states_of(model: Any, tokenizer: Any, prompts: Sequence[str]) -> dict[str, np.ndarray]:
    """The states of prompts by the names in `STATES`: (layers + 1, prompts, width), float64."""
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    device = next(model.parameters()).device
    found: dict[str, list[np.ndarray]] = {name: [] for name in STATES}
    for start in range(0, len(order), _BATCH):
        rows = [ids[i] for i in order[start : start + _BATCH]]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        width = int(lengths.max())
        # Padding follows the text, which in a causal model does not see it.
        padded = [row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows]
        mask = (torch.arange(width, device=device) < lengths[:, None]).long()
        output = model(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=mask,
            output_hidden_states=True,
            # No logits are needed, and one token's cannot be left out. It is named by its place, which
            # copies its states: a slice of many rows in bf16 takes torch 500 times as long on a CPU.
            logits_to_keep=torch.tensor([width - 1], device=device),
        )
        # Virtual tokens of prompt tuning stand before those of the text.
        # One layer at a time in float64: all tokens of all layers would take many times the model's memory.
        hidden = [h[:, -width:] for h in output.hidden_states]
        last = [h[torch.arange(len(rows)), lengths - 1].double() for h in hidden]
        mean = [(h.double() * mask[:, :, None]).sum(1) / lengths[:, None] for h in hidden]
        found["last"].append(torch.stack(last).cpu().numpy())
        found["mean"].append(torch.stack(mean).cpu().numpy())
    back = np.argsort(order)
    return {name: np.concatenate(parts, axis=1)[:, back] for name, parts in found.items()}


def of_states(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Every quantity of every layer, from :func:`states_of` twins in the same order, in the columns
    ``state, layer, quantity, value, null``: `cka`, `retrieval` and `probe` (see there).

    ``value`` is missing where it is not defined: of `cka` where the states of a language are all the
    same.

    Raises:
        FlexError: fewer than `FOLDS` twins.
    """
    _need(first[PRIMARY][0])
    return [
        {"state": state} | row
        for state in STATES
        for row in _compared(first[state], second[state], (cka, retrieval, probe), seed)
    ]


def _need(twins: Sequence[Any] | np.ndarray) -> None:
    if len(twins) < FOLDS:
        raise FlexError(f"{len(twins)} twins are too few; {FOLDS} at least are needed")


def _compared(
    first: np.ndarray, second: np.ndarray, measures: Sequence[Any], seed: int
) -> Iterator[dict[str, Any]]:
    for layer, (x, y) in enumerate(zip(first, second, strict=True)):
        for measure in measures:
            # The same draws everywhere, so that runs and layers differ by their states alone.
            value, null = measure(x, y, np.random.default_rng(seed))
            yield {
                "layer": layer,
                "quantity": measure.__name__,
                "value": "" if np.isnan(value) else f"{value:.5g}",
                "null": "" if np.isnan(null) else f"{null:.5g}",
            }


def cka(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Linear centred kernel alignment of two sets of states, (n, width) each, and its null.

    ``CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` with K = X X', L = Y Y' (Kornblith et al. 2019) and
    the unbiased estimate of HSIC (Song et al. 2012; Nguyen et al. 2021): with the diagonals of K and L
    set to 0,

        HSIC(K, L) = [tr(K L) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2/(n-2) 1'K L 1] / (n (n-3)).

    It is computed as the inner product of the U-centred matrices over n (n-3), which is the same (Székely
    and Rizzo 2014). Without the correction 500 tasks in 192 dimensions would be alike by chance. NaN if
    the states of a side do not differ.
    """
    k, m = (_u_centred(z @ z.T) for z in (_centred(x), _centred(y)))
    norm = np.sqrt((k * k).sum() * (m * m).sum())
    if norm == 0:
        return np.nan, np.nan
    shuffled = [(k * m[np.ix_(p, p)]).sum() / norm for p in _permutations(len(x), rng)]
    return float((k * m).sum() / norm), float(np.mean(shuffled))


def retrieval(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Recall at 1: the share of states whose twin is, of all n states of the other language, the nearest
    by the cosine of states centred in their language; the mean of both directions. And its null.

    Of several nearest ones each counts in part, so that states that do not differ give 1/n.
    """
    similarity = _directions(x) @ _directions(y).T
    hits = np.zeros_like(similarity)  # (python, java): how far it counts as the nearest
    for axis in (0, 1):
        nearest = similarity >= similarity.max(axis=axis, keepdims=True) - _TIE
        hits += nearest / nearest.sum(axis=axis, keepdims=True) / 2
    rows = np.arange(len(x))
    shuffled = [hits[rows, p].mean() for p in _permutations(len(x), rng)]
    return float(hits[rows, rows].mean()), float(np.mean(shuffled))


def probe(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Accuracy of a linear probe for the language on tasks that it was not fitted on, and its null.

    Ridge regression of +-1 in closed form, `FOLDS`-fold; twins are in one fold, so that the probe cannot
    know a task's words from its twin, and labels add up to zero: the intercept is that of centred states. A
    score of zero counts half.
    """
    n = len(x)
    fold = rng.permutation(n) % FOLDS
    swaps = np.concatenate([np.ones((n, 1)), rng.choice([-1.0, 1.0], size=(n, DRAWS))], axis=1)
    labels = np.concatenate([swaps, -swaps])  # (2n, 1 + DRAWS): the languages, then the null
    states, fold = np.concatenate([x, y]), np.tile(fold, 2)
    right = np.zeros_like(labels)
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        mean = states[train].mean(0)
        z = states[train] - mean
        gram = z.T @ z
        gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram) + 1e-12
        weights = np.linalg.solve(gram, z.T @ labels[train])
        score = (states[test] - mean) @ weights
        right[test] = (np.sign(score * labels[test]) + 1) / 2
    accuracy = right.mean(0)
    return float(accuracy[0]), float(accuracy[1:].mean())


def _centred(x: np.ndarray) -> np.ndarray:
    """Without the mean; zero where states differ by rounding alone."""
    z = x - x.mean(0)
    return z if np.abs(z).max() > 1e-9 * np.abs(x).max() else np.zeros_like(z)


def _directions(x: np.ndarray) -> np.ndarray:
    """Centred states, each of length 1, or 0 if it is the mean."""
    z = _centred(x)
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300)


def _u_centred(gram: np.ndarray) -> np.ndarray:
    """A symmetric matrix of n rows, U-centred (Székely and Rizzo 2014): off the diagonal, less its rows' and
    columns' sums over n-2, plus its sum over (n-1)(n-2); zero on it."""
    n = len(gram)
    gram = gram.copy()
    np.fill_diagonal(gram, 0)
    rows = gram.sum(0) / (n - 2)
    gram += gram.sum() / ((n - 1) * (n - 2)) - rows[:, None] - rows[None, :]
    np.fill_diagonal(gram, 0)
    return gram


def _permutations(n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    return (rng.permutation(n) for _ in range(DRAWS))
