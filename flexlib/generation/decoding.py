"""Batched decoding of a benchmark into a file of completions.

Each completion depends on its problem, its sample number and the run's seed, up to the rounding of
batched arithmetic, and not on its neighbours, on their order or on where the work was interrupted:
greedy decoding trivially, sampling because every completion draws from a generator of its own. Beam
*sampling* is the exception: transformers draws for a whole batch at once, so its batches are fixed
and its random numbers are the seed's and the batch's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from flexlib.config import BenchmarkSettings
from flexlib.errors import FlexError
from flexlib.generation.cache import growing_cache
from flexlib.tasks.benchmarks import Problem

Completion = dict[str, Any]  # task_id, sample, completion, tokens, truncated

# Steps between two looks at the text. Each look decodes the tail of every unfinished row; what is
# generated beyond a stop string is cut off, so this only trades one kind of waste for another.
_STEPS_BETWEEN_CHECKS = 4

BEAM_SAMPLING_BATCH = 8  # problems; part of what beam sampling yields, so not the machine's choice
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

    A completion ends before the first of its problem's stop strings, at the end-of-text token, or,
    ``truncated``, after ``max_new_tokens``. ``tokens`` counts what the model generated for it, with the
    end-of-text token and up to the token that completed the stop string or, for want of a finer
    look, a few tokens beyond.

    Args:
        output: JSON-lines file that each batch is appended to; batches that it holds already are
            not generated again.
        batch_size: completions (beams, in beam search) decoded together.
        static_cache: a cache of fixed size, for which transformers compiles the model on a GPU.

    Raises:
        FlexError: the settings do not fit together.
    """
    _check(settings)
    if settings.stop is not None:
        problems = [dataclasses.replace(p, stop=settings.stop) for p in problems]
    if settings.num_beams:
        sampled = settings.temperature > 0
        batch_size = BEAM_SAMPLING_BATCH if sampled else max(1, batch_size // settings.num_beams)
    work = [(problem, sample) for problem in problems for sample in range(settings.samples)]
    prompt_ids = {p.task_id: tokenizer(p.prompt)["input_ids"] for p in problems}
    # Neighbours of like length need little padding; ids make the order, so the batches, unique.
    by_length = sorted(work, key=lambda w: (len(prompt_ids[w[0].task_id]), w[0].task_id, w[1]))
    batches = [by_length[i : i + batch_size] for i in range(0, len(work), batch_size)]

    done = {_key(c): c for c in _read_whole_lines(output)}
    with (
        output.open("a", encoding="utf-8") as file,
        tqdm(
            total=len(work), desc=description, unit="program", disable=None if progress else True
        ) as bar,
    ):
        for batch in batches:
            # A batch of which a part is missing is generated whole: other neighbours, other padding,
            # other rounding.
            if any((problem.task_id, sample) not in done for problem, sample in batch):
                prompts = [prompt_ids[problem.task_id] for problem, _ in batch]
                completions = complete_batch(
                    model, tokenizer, batch, prompts, settings, seed, static_cache
                )
                file.write("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in completions))
                file.flush()
                os.fsync(file.fileno())
                done.update((_key(c), c) for c in completions)
            bar.update(len(batch))
    return [done[problem.task_id, sample] for problem, sample in work]


@torch.inference_mode()
def complete_batch(
    model: PreTrainedModel,
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
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    input_ids = [[pad] * n + ids for n, ids in zip(padding, prompts, strict=True)]
    mask = [[0] * n + [1] * (width - n) for n in padding]
    stop = StopStrings(tokenizer, [problem.stop for problem, _ in batch], width)
    if settings.num_beams:
        processors, choice = _repetition(settings, padding), _beam_options(settings)
    else:
        # do_sample stays off: with temperature, Sample has made the choice in the logits.
        processors = _processors(batch, settings, seed, width, padding, model.device)
        choice = {"do_sample": False}
    cache = {}
    if static_cache:
        choice["cache_implementation"] = "static"
    elif model.device.type == "cuda" and not settings.num_beams:
        cache = {"past_key_values": growing_cache(model.config)}
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
                eos_token_id=eos,
                **choice,
            ),
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([stop]),
            **cache,
        )
    rows = generated[:, width:].tolist()
    return [
        _completion(tokenizer, problem, sample, prompt, row, settings.max_new_tokens)
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
        # A token is at least one byte, so a stop string has at most this many tokens.
        longest = max((len(s.encode()) for row in stop for s in row), default=0)
        self.tail = longest + _STEPS_BETWEEN_CHECKS

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


class Sample(LogitsProcessor):
    """Samples by the inverse of the cumulative distribution, one uniform number a row and step.

    The uniform numbers of a row come from a generator of its own, so a completion is the same in any
    batch. Scores become 0 for the chosen token and -inf for the rest: greedy decoding takes it.
    """

    def __init__(self, uniforms: torch.Tensor, prompt_width: int) -> None:
        self.uniforms, self.prompt_width = uniforms, prompt_width  # (batch, max_new_tokens), [0, 1)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        cumulative = scores.double().softmax(dim=-1).cumsum(dim=-1)
        u = self.uniforms[:, input_ids.shape[1] - self.prompt_width, None]
        # right=True passes over tokens of probability 0; the total is 1 up to rounding.
        chosen = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


def _check(settings: BenchmarkSettings) -> None:
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
    uniforms = torch.stack(
        [_uniforms(seed, p.task_id, sample, settings.max_new_tokens) for p, sample in batch]
    )
    processors.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        processors.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        processors.append(TopPLogitsWarper(settings.top_p))
    return [*processors, Sample(uniforms.to(device), width)]


def _repetition(settings: BenchmarkSettings, padding: Sequence[int]) -> list[LogitsProcessor]:
    penalty = settings.repetition_penalty
    return [RepetitionPenalty(penalty, padding)] if penalty else []


def _uniforms(seed: int, task_id: str, sample: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(_hash(seed, task_id, sample))
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _hash(seed: int, task_id: str, sample: int) -> int:
    name = hashlib.sha256(f"{seed}\n{task_id}\n{sample}".encode()).digest()
    return int.from_bytes(name[:8]) >> 1


def _completion(
    tokenizer: Any,
    problem: Problem,
    sample: int,
    prompt: list[int],
    row: list[int],
    max_new_tokens: int,
) -> Completion:
    # A row that ended before the others was filled up with padding.
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    tokens = list(itertools.takewhile(lambda token: token not in ends, row))
    ended = tokenizer.eos_token_id in row[len(tokens) : len(tokens) + 1]
    # Decoding with the prompt in front keeps what some tokenizers drop from the start of a text.
    text = _decode(tokenizer, prompt + tokens)[len(_decode(tokenizer, prompt)) :]
    text, stopped = cut_at_stop(text, problem.stop)
    return {
        "task_id": problem.task_id,
        "sample": sample,
        "completion": text,
        "tokens": len(tokens) + ended,
        "truncated": not ended and not stopped and len(tokens) >= max_new_tokens,
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
