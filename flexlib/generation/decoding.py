"""Batched decoding of a benchmark into a file of completions.

Each completion depends on its problem, its sample number and the run's seed, up to the rounding of
batched arithmetic, and not on its neighbours, on their order or on where the work was interrupted:
greedy decoding trivially, sampling because every completion draws from a generator of its own. Beam
*sampling* is the exception: transformers draws for a whole batch at once, so its batches are fixed
and its random numbers are the seed's and the batch's.

Completions differ in length by an order of magnitude, so those that have ended leave the batch and
others take their places (Orca's iteration-level scheduling, Yu et al., OSDI 2022). Beams, a compiled
model and models with other than full attention are left to transformers, in fixed batches.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import itertools
import json
import os
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import Cache

from flexlib.config import BEAM_SAMPLING_BATCH, BenchmarkSettings
from flexlib.errors import FlexError
from flexlib.generation.cache import growing_cache, layers
from flexlib.generation.packing import packed
from flexlib.progress import bar as progress_bar
from flexlib.tasks.benchmarks import Problem

Completion = dict[str, Any]  # task_id, sample, completion, tokens, truncated

# Tokens between two looks at a row's text. Each look decodes its tail; what is generated beyond a stop
# string is cut off, so this only trades one kind of waste for another.
_STEPS_BETWEEN_CHECKS = 4

# Rows leave and enter the batch when an eighth of it has ended: each time the whole cache is copied.
_PARTS = 8
# Columns of the cache that only ended rows still use, at most. It bounds the memory.
_DEAD_COLUMNS = 128

_CANDIDATES = 1024  # tokens among which top_k and top_p are looked for first

_STATIC_WIDTH = 64  # a compiled model sees prompts of multiples of this many tokens


def generate(
    model: PreTrainedModel,
    tokenizer: Any,
    problems: Sequence[Problem],
    settings: BenchmarkSettings,
    output: Path,
    *,
    seed: int,
    batch_size: int = 64,
    static_cache: bool = False,
    progress: bool = True,
    description: str = "generate",
) -> list[Completion]:
    """Complete every problem ``settings.samples`` times; returns the completions in problem order.

    A completion ends before the first of its problem's stop strings, before the first special token
    (see :func:`end_tokens`) or, ``truncated``, after ``max_new_tokens``. ``tokens`` counts what the
    model generated for it, with the special token and up to the token that completed the stop string
    or, for want of a finer look, a few tokens beyond.

    Args:
        output: JSON-lines file that completions are appended to as they end; those that it holds
            already are not generated again.
        batch_size: completions (beams, in beam search) decoded together.
        static_cache: a cache of fixed size, for which transformers compiles the model on a GPU; no
            completion leaves its batch before the last has ended.

    Raises:
        FlexError: the settings do not fit together.
    """
    check(settings)
    if settings.stop is not None:
        problems = [dataclasses.replace(p, stop=settings.stop) for p in problems]
    work = [(problem, sample) for problem in problems for sample in range(settings.samples)]
    prompts = {p.task_id: prompt_ids(p.prompt, settings, tokenizer) for p in problems}
    # Neighbours of like length need little padding. The longest come first: what does not fit into
    # memory shows at once.
    in_order = sorted(work, key=lambda w: (-len(prompts[w[0].task_id]), w[0].task_id, w[1]))
    done = {_key(c): c for c in _read_whole_lines(output)}
    missing = [(problem, i) for problem, i in in_order if (problem.task_id, i) not in done]
    with (
        packed(model) if missing else contextlib.nullcontext(),
        output.open("a", encoding="utf-8") as file,
        progress_bar(
            description, "program", len(work), initial=len(work) - len(missing), show=progress
        ) as bar,
    ):
        if not missing:
            parts: Iterator[list[Completion]] = iter(())
        elif settings.num_beams or static_cache or not _rows_can_leave(model):
            parts = _in_batches(
                model, tokenizer, in_order, prompts, done, settings, seed, batch_size, static_cache
            )
        else:
            parts = complete(model, tokenizer, missing, prompts, settings, seed, batch_size)
        for completions in parts:
            if completions:
                file.write("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in completions))
                file.flush()
                os.fsync(file.fileno())
                bar.update(sum(_key(c) not in done for c in completions))
                done.update((_key(c), c) for c in completions)
    return [done[problem.task_id, sample] for problem, sample in work]


def prompt_ids(prompt: str, settings: BenchmarkSettings, tokenizer: Any) -> list[int]:
    """The tokens of a prompt; one in the model's chat format has its special tokens already."""
    return tokenizer(prompt, add_special_tokens=settings.protocol is None)["input_ids"]


def end_tokens(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """The ids at which a text ends: what the model and its tokenizer call end of text (one id or
    several), and every other special token, since none is a part of a program."""
    ends = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    for named in (
        tokenizer.eos_token_id,
        model.config.eos_token_id,
        model.generation_config.eos_token_id,
    ):
        ends.update(named if isinstance(named, (list, tuple)) else [named])
    return frozenset(ends - {None})


@torch.inference_mode()
def complete(
    model: PreTrainedModel,
    tokenizer: Any,
    work: Iterable[tuple[Problem, int]],
    prompts: Mapping[str, list[int]],
    settings: BenchmarkSettings,
    seed: int,
    batch_size: int,
) -> Iterator[list[Completion]]:
    """Complete problems, each with its sample number, without beams, in a batch that they leave as they
    end; yields after each pass through the model what has ended in it, often nothing.

    Args:
        work: in the order in which they enter; those that follow each other should have prompts of
            like length.
        prompts: token ids by ``task_id``.
        batch_size: rows decoded together, at most.
    """
    decoder = _Decoder(model, tokenizer, settings)
    waiting = deque(
        _Row(problem, sample, prompts[problem.task_id], _uniforms(problem, sample, settings, seed))
        for problem, sample in work
    )
    part = max(1, batch_size // _PARTS)
    batch = None
    while waiting or batch:
        if batch:
            yield decoder.step(batch)
        if batch is None or batch.is_due():
            room = batch_size - (len(batch.live()) if batch else 0)
            batch = _joined(batch, None)
            while waiting and room >= part:
                entering = [waiting.popleft() for _ in range(min(part, len(waiting)))]
                others, ended = decoder.start(entering)
                batch, room = _joined(batch, others), room - part
                yield ended


@dataclass
class _Row:
    """A completion in the making."""

    problem: Problem
    sample: int
    prompt: list[int]
    uniforms: torch.Tensor | None  # (max_new_tokens,), if it is sampled
    new: list[int] = field(default_factory=list)
    ended: bool = False


@dataclass
class _Batch:
    """Rows that are decoded together; all end in the last column of the cache."""

    rows: list[_Row]
    cache: Cache
    lengths: torch.Tensor  # (rows,), tokens of each in the cache
    tokens: torch.Tensor  # (rows,), the next of each, which the cache does not hold yet

    def live(self) -> list[int]:
        return [i for i, row in enumerate(self.rows) if not row.ended]

    def is_due(self) -> bool:
        """Whether so many have ended that it pays to let them leave."""
        live = [self.rows[i] for i in self.live()]
        widest = max((len(row.prompt) + len(row.new) for row in live), default=0)
        few = len(live) * _PARTS <= len(self.rows) * (_PARTS - 1)
        return few or self.cache.get_seq_length() - widest >= _DEAD_COLUMNS


def _joined(batch: _Batch | None, others: _Batch | None) -> _Batch | None:
    """The rows of a batch that have not ended and, below, those of another; None if there are none."""
    live = batch.live() if batch else []
    if batch is None or not live:
        return others
    index = torch.tensor(live, device=batch.lengths.device)
    kept = _Batch(
        [batch.rows[i] for i in live], batch.cache, batch.lengths[index], batch.tokens[index]
    )
    width = int(kept.lengths.max())
    entering = layers(others.cache) if others else [None] * len(kept.cache.layers)
    for layer, other in zip(layers(kept.cache), entering, strict=True):
        layer.rejoin(index, width, other)
    if others:
        kept.rows += others.rows
        kept.lengths = torch.cat([kept.lengths, others.lengths])
        kept.tokens = torch.cat([kept.tokens, others.tokens])
    return kept


class _Decoder:
    """A model that extends the rows of a batch by a token at a time."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, settings: BenchmarkSettings) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.ends = end_tokens(model, tokenizer)
        self.sdpa = model.config._attn_implementation == "sdpa"

    def start(self, rows: list[_Row]) -> tuple[_Batch, list[Completion]]:
        """Pass the prompts of new rows, those that several have once, and take their first tokens."""
        prompts = list({row.problem.task_id: row.prompt for row in rows}.values())
        width = max(map(len, prompts))
        padded = [[self.tokenizer.pad_token_id] * (width - len(ids)) + ids for ids in prompts]
        lengths = torch.tensor([len(ids) for ids in prompts], device=self.model.device)
        cache = growing_cache(self.model.config)
        assert cache is not None  # see _rows_can_leave
        tokens = torch.tensor(padded, device=self.model.device)
        logits = self._pass(tokens, lengths, cache)
        if len(prompts) < len(rows):
            index = torch.tensor([prompts.index(row.prompt) for row in rows]).to(lengths.device)
            lengths, logits = lengths[index], logits[index]
            for layer in layers(cache):
                layer.rejoin(index, width)
        batch = _Batch(rows, cache, lengths, lengths)
        return batch, self._extend(batch, logits)

    def step(self, batch: _Batch) -> list[Completion]:
        """Extend the rows of a batch; returns those that end."""
        batch.lengths = batch.lengths + 1
        logits = self._pass(batch.tokens[:, None], batch.lengths, batch.cache)
        return self._extend(batch, logits)

    def _pass(self, tokens: torch.Tensor, lengths: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Put tokens, the last of rows that have ``lengths`` with them, through the model; returns the
        logits (rows, vocabulary) of what follows."""
        new = tokens.shape[1]
        column = torch.arange(cache.get_seq_length() + new, device=tokens.device)
        position = column - (len(column) - lengths[:, None])  # negative: padding
        mask = position >= 0
        if new == 1 and mask.device.type == "cpu" and self.sdpa:
            # In this shape it is taken as it is. Else transformers leaves out a mask that hides nothing,
            # and grouped queries without a mask are ten times as slow on a CPU.
            mask = mask[:, None, None]
        return self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=position[:, -new:].clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def _extend(self, batch: _Batch, logits: torch.Tensor) -> list[Completion]:
        batch.tokens = self._choose(batch.rows, logits)
        completions = []
        for row, token in zip(batch.rows, batch.tokens.tolist(), strict=True):
            if not row.ended:
                row.new.append(token)
                row.ended = self._ends(row)
                if row.ended:
                    completions.append(self._completion(row))
        return completions

    def _completion(self, row: _Row) -> Completion:
        limit = self.settings.max_new_tokens
        return _completion(
            self.tokenizer, row.problem, row.sample, row.prompt, row.new, self.ends, limit
        )

    def _choose(self, rows: list[_Row], logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row; anything of those that have ended."""
        settings = self.settings
        if settings.repetition_penalty:
            texts = [row.prompt + row.new for row in rows]
            width = max(map(len, texts))
            padding = [width - len(text) for text in texts]
            padded = [[0] * n + text for n, text in zip(padding, texts, strict=True)]
            ids: Any = torch.tensor(padded, device=logits.device)
            logits = RepetitionPenalty(settings.repetition_penalty, padding)(ids, logits.float())
        if settings.temperature == 0:
            return logits.max(dim=-1).indices  # argmax, but quick in bf16 on a CPU, too
        drawn = [(row.uniforms, -1 if row.ended else len(row.new)) for row in rows]
        u = torch.stack([numbers[i] for numbers, i in drawn if numbers is not None])
        return draw(logits, u.to(logits.device), settings)

    def _ends(self, row: _Row) -> bool:
        if row.new[-1] in self.ends or len(row.new) >= self.settings.max_new_tokens:
            return True
        stop = row.problem.stop
        if not stop or len(row.new) % _STEPS_BETWEEN_CHECKS:
            return False
        text = self.tokenizer.decode(row.new[-_tail(stop) :], clean_up_tokenization_spaces=False)
        return any(s in text for s in stop)


def _in_batches(
    model: PreTrainedModel,
    tokenizer: Any,
    work: Sequence[tuple[Problem, int]],
    prompts: Mapping[str, list[int]],
    done: Container[tuple[str, int]],
    settings: BenchmarkSettings,
    seed: int,
    batch_size: int,
    static_cache: bool,
) -> Iterator[list[Completion]]:
    """Complete in fixed batches those of which a part is missing: a batch with other neighbours has
    other padding, other rounding and, in beam sampling, other random numbers.

    Of prompts of one length where tokens are virtual: PEFT puts those of prompt tuning before the padding
    and drops position ids, so that they would lie the further from a prompt the shorter it is.
    """
    if settings.num_beams:
        sampled = settings.temperature > 0
        batch_size = BEAM_SAMPLING_BATCH if sampled else max(1, batch_size // settings.num_beams)
    groups: list[Sequence[tuple[Problem, int]]] = [work]
    if _has_virtual_tokens(model):
        static_cache = False  # whose width is padded, too
        by_length = itertools.groupby(work, key=lambda w: len(prompts[w[0].task_id]))
        groups = [list(group) for _, group in by_length]
    for batch in (g[i : i + batch_size] for g in groups for i in range(0, len(g), batch_size)):
        if any((problem.task_id, sample) not in done for problem, sample in batch):
            ids = [prompts[problem.task_id] for problem, _ in batch]
            yield complete_batch(model, tokenizer, batch, ids, settings, seed, static_cache)


def _has_virtual_tokens(model: Any) -> bool:
    """Whether an adapter puts tokens before the text."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and config.is_prompt_learning


def _rows_can_leave(model: Any) -> bool:
    """Whether the model takes what :class:`_Decoder` gives it."""
    if _has_virtual_tokens(model):
        return False  # PEFT puts the virtual tokens before whatever the model is called with
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    taken = inspect.signature(base.forward).parameters
    return growing_cache(model.config) is not None and {"position_ids", "logits_to_keep"} <= set(
        taken
    )


@torch.inference_mode()
def complete_batch(
    model: Any,
    tokenizer: Any,
    batch: Sequence[tuple[Problem, int]],
    prompts: Sequence[list[int]],
    settings: BenchmarkSettings,
    seed: int,
    static_cache: bool = False,
) -> list[Completion]:
    """Complete problems, each with its sample number and its prompt's token ids, together."""
    width = max(map(len, prompts))
    if static_cache:
        width = -(-width // _STATIC_WIDTH) * _STATIC_WIDTH
    padding = [width - len(ids) for ids in prompts]
    pad, ends = tokenizer.pad_token_id, end_tokens(model, tokenizer)
    input_ids = [[pad] * n + ids for n, ids in zip(padding, prompts, strict=True)]
    mask = [[0] * n + [1] * (width - n) for n in padding]
    stop = StopStrings(tokenizer, [problem.stop for problem, _ in batch], width)
    if settings.num_beams:
        processors, choice = _repetition(settings, padding), _beam_options(settings)
    else:
        # do_sample stays off: with temperature, Sample has made the choice in the logits.
        processors = _processors(batch, settings, seed, width, padding, model.device)
        choice = {"do_sample": False}
    if static_cache:
        choice["cache_implementation"] = "static"
    # Only beam sampling draws from torch's own generator.
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        problem, sample = batch[0]
        torch.manual_seed(_hash(seed, problem.task_id, sample))
        generated = model.generate(
            input_ids=torch.tensor(input_ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=GenerationConfig(
                max_new_tokens=settings.max_new_tokens,
                pad_token_id=pad,
                eos_token_id=sorted(ends),
                **choice,
            ),
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([stop]),
        )
    rows = generated[:, width:].tolist()
    for row in rows:  # those that ended before the others were filled up
        while row and row[-1] == pad:
            row.pop()
    return [
        _completion(tokenizer, problem, sample, prompt, row, ends, settings.max_new_tokens)
        for (problem, sample), prompt, row in zip(batch, prompts, rows, strict=True)
    ]


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """``text`` up to the first occurrence of any stop string, and whether there was one."""
    positions = [at for s in stop if (at := text.find(s)) >= 0]
    return (text[: min(positions)], True) if positions else (text, False)


class StopStrings(StoppingCriteria):
    """Ends a row once its own stop strings appear in the text it has generated.

    transformers' ``stop_strings`` takes one list for all rows and prepares a table over the whole
    vocabulary; decoding a short tail now and then is simpler and no slower.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[Sequence[str]], prompt_width: int) -> None:
        self.tokenizer, self.stop, self.prompt_width = tokenizer, stop, prompt_width
        self.ended = [False] * len(stop)
        self.tail = _tail([s for row in stop for s in row])

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        new = input_ids.shape[1] - self.prompt_width
        if len(input_ids) > len(self.stop):
            return self._of_beams(input_ids, new)
        if new % _STEPS_BETWEEN_CHECKS == 0:
            tails = input_ids[:, -min(new, self.tail) :].tolist()
            for i, tail in enumerate(tails):
                if not self.ended[i]:
                    text = self.tokenizer.decode(tail, clean_up_tokenization_spaces=False)
                    self.ended[i] = any(s in text for s in self.stop[i])
        return torch.tensor(self.ended, device=input_ids.device)

    def _of_beams(self, input_ids: torch.LongTensor, new: int) -> torch.Tensor:
        """The same for several candidates a problem. They change places from step to step, and one
        that is not ended when it is complete goes on, so each is looked at in each step."""
        candidates = len(input_ids) // len(self.stop)
        tails = self.tokenizer.batch_decode(
            input_ids[:, -min(new, self.tail) :], clean_up_tokenization_spaces=False
        )
        ended = [any(s in text for s in self.stop[i // candidates]) for i, text in enumerate(tails)]
        return torch.tensor(ended, device=input_ids.device)


def _tail(stop: Sequence[str]) -> int:
    """Tokens to look at for a stop string that has appeared since the last look. A token is at least one
    byte, so a stop string has at most as many tokens as bytes."""
    return max((len(s.encode()) for s in stop), default=0) + _STEPS_BETWEEN_CHECKS


class RepetitionPenalty(RepetitionPenaltyLogitsProcessor):
    """transformers' penalty of tokens that have occurred, which does not count padding as text."""

    def __init__(self, penalty: float, padding: Sequence[int]) -> None:
        super().__init__(penalty)
        self.padding = torch.tensor(padding)  # tokens at the left of each problem's rows

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        beams = len(input_ids) // len(self.padding)
        padding = self.padding.to(input_ids.device).repeat_interleave(beams)[:, None]
        column = torch.arange(input_ids.shape[1], device=input_ids.device)
        # A token that occurs twice counts once, so the first of the prompt may stand for padding.
        text = input_ids.where(column >= padding, input_ids.gather(1, padding))
        return super().__call__(text, scores)


def draw(logits: torch.Tensor, uniforms: torch.Tensor, settings: BenchmarkSettings) -> torch.Tensor:
    """Sample by the inverse of the cumulative distribution over the ids.

    Args:
        logits: (rows, vocabulary).
        uniforms: (rows,), fp64, in [0, 1). Those of a row come from a generator of its own, so a
            completion is the same in any batch.
        settings: its temperature, ``top_k`` and ``top_p``, in this order, as in transformers, but that a
            tie for the last place always keeps all: which transformers' ``top_p`` keeps is chance, and
            bf16 ties often.

    Returns:
        (rows,) ids.
    """
    scores, ids = logits.float() / settings.temperature, None
    if settings.top_k or settings.top_p < 1:
        scores, ids = _likeliest(scores, settings)
        ids, order = ids.sort(dim=-1)
        scores = scores.gather(-1, order)
    cumulative = scores.double().softmax(dim=-1).cumsum(dim=-1)
    # right=True passes over tokens of probability 0; the total is 1 up to rounding.
    chosen = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    return (chosen if ids is None else ids.gather(-1, chosen)).squeeze(-1)


def _likeliest(
    scores: torch.Tensor, settings: BenchmarkSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores that ``top_k`` and ``top_p`` leave, and some that are set to -inf, with their ids. A
    thousand candidates nearly always hold them all, and to sort a whole vocabulary is slow."""
    words = scores.shape[-1]
    for candidates in (min(max(_CANDIDATES, (settings.top_k or 0) + 1), words), words):
        best, ids = scores.topk(candidates)
        least, total = best[:, -1:], scores
        if settings.top_k and settings.top_k < candidates:
            least = best[:, settings.top_k - 1, None]
            total = best = best.masked_fill(best < least, -torch.inf)
        if settings.top_p < 1:
            probability = (best - total.logsumexp(dim=-1, keepdim=True)).exp()
            before = probability.cumsum(dim=-1) - probability
            least = best.masked_fill(before >= settings.top_p, torch.inf).amin(-1, keepdim=True)
        if candidates == words or (least > best[:, -1:]).all():
            break
    return best.masked_fill(best < least, -torch.inf), ids


class Sample(LogitsProcessor):
    """Samples in transformers' greedy decoding: scores become 0 for the token that is drawn and -inf for
    the rest."""

    def __init__(
        self, uniforms: torch.Tensor, prompt_width: int, settings: BenchmarkSettings
    ) -> None:
        self.uniforms, self.prompt_width = uniforms, prompt_width  # (batch, max_new_tokens), [0, 1)
        self.settings = settings

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        uniforms = self.uniforms[:, input_ids.shape[1] - self.prompt_width]
        chosen = draw(scores, uniforms, self.settings)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)


def check(settings: BenchmarkSettings) -> None:
    """Refuse settings that do not go together. Raises: FlexError."""
    beams = settings.num_beams
    if beams is not None and beams < 2:
        raise FlexError("num_beams is 2 or more; leave it out to decode without beams")
    if beams is None and (settings.length_penalty or settings.early_stopping):
        raise FlexError("length_penalty and early_stopping belong to beam search; set num_beams")
    if beams and settings.samples > 1:
        raise FlexError("beam search writes one completion a problem; set samples = 1")


def _beam_options(settings: BenchmarkSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "num_beams": settings.num_beams,
        "do_sample": settings.temperature > 0,
        "length_penalty": settings.length_penalty,
        "early_stopping": settings.early_stopping,
    }
    if settings.temperature > 0:
        # 0 switches top_k off, which has a default in some versions of transformers.
        options |= {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k or 0,
        }
    return {name: value for name, value in options.items() if value is not None}


def _processors(
    batch: Sequence[tuple[Problem, int]],
    settings: BenchmarkSettings,
    seed: int,
    width: int,
    padding: Sequence[int],
    device: torch.device,
) -> list[LogitsProcessor]:
    """What becomes of the logits, in transformers' order."""
    processors = _repetition(settings, padding)
    if settings.temperature == 0:
        return processors
    drawn = [_uniforms(p, sample, settings, seed) for p, sample in batch]
    uniforms = torch.stack([numbers for numbers in drawn if numbers is not None])
    return [*processors, Sample(uniforms.to(device), width, settings)]


def _repetition(settings: BenchmarkSettings, padding: Sequence[int]) -> list[LogitsProcessor]:
    penalty = settings.repetition_penalty
    return [RepetitionPenalty(penalty, padding)] if penalty else []


def _uniforms(
    problem: Problem, sample: int, settings: BenchmarkSettings, seed: int
) -> torch.Tensor | None:
    """The random numbers of a completion, one a token; None if it is not sampled."""
    if settings.temperature == 0:
        return None
    generator = torch.Generator().manual_seed(_hash(seed, problem.task_id, sample))
    return torch.rand(settings.max_new_tokens, generator=generator, dtype=torch.float64)


def _hash(seed: int, task_id: str, sample: int) -> int:
    name = hashlib.sha256(f"{seed}\n{task_id}\n{sample}".encode()).digest()
    return int.from_bytes(name[:8]) >> 1


def _completion(
    tokenizer: Any,
    problem: Problem,
    sample: int,
    prompt: list[int],
    row: list[int],
    ends: Container[int],
    max_new_tokens: int,
) -> Completion:
    # What follows the first special token is padding, or would be glued to what is before it.
    tokens = list(itertools.takewhile(lambda token: token not in ends, row))
    # Decoding with the prompt in front keeps what some tokenizers drop from the start of a text.
    text = _decode(tokenizer, prompt + tokens)[len(_decode(tokenizer, prompt)) :]
    text, stopped = cut_at_stop(text, problem.stop)
    special = len(tokens) < len(row) or (not stopped and len(row) < max_new_tokens)
    return {
        "task_id": problem.task_id,
        "sample": sample,
        "completion": text,
        "tokens": len(tokens) + special,
        "truncated": not special and not stopped,
    }


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _key(completion: Completion) -> tuple[str, int]:
    return completion["task_id"], completion["sample"]


def _read_whole_lines(path: Path) -> Iterator[Completion]:
    """The completions of a file, which is first cut after its last whole line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    # Only \n ends a row: splitlines would also cut at the U+2028 that a model may write.
    yield from map(json.loads, whole.decode().split("\n")[:-1])
