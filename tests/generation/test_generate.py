"""Decoding: the text is the model's own, whatever the batch, the order or an interruption."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import json
from pathlib import Path

import pytest
import tiny
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from flexlib import models
from flexlib.config import ADAPTERS, BenchmarkSettings
from flexlib.errors import FlexError
from flexlib.generation import decoding as generate_module
from flexlib.generation.cache import GrowingLayer
from flexlib.generation.decoding import Sample, _read_whole_lines, cut_at_stop, draw, generate
from flexlib.models import adapters
from flexlib.tasks.benchmarks import Problem

GREEDY = BenchmarkSettings("tiny", "python", max_new_tokens=24)
SAMPLED = dataclasses.replace(GREEDY, samples=2, temperature=0.8, top_p=0.95)
PROMPTS = [
    "def f(n):\n",
    "def double(xs: list) -> list:\n",
    "import",
    "# sum\ndef g():\n",
    "x = 1\n",
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    base = tiny.make_base(tmp_path_factory.mktemp("base"))
    return models.load_model(base, "fp32", "cpu"), models.load_tokenizer(base)


def problems(stop: tuple[str, ...] = ()) -> list[Problem]:
    return [Problem(f"tiny/{i}", "python", p, "", stop) for i, p in enumerate(PROMPTS)]


def texts(completions) -> list[str]:
    return [c["completion"] for c in completions]


def decode(loaded, wanted, settings, output: Path, **kwargs):
    options = {"seed": 1, "batch_size": 4, "progress": False, **kwargs}
    return generate(*loaded, wanted, settings, output, **options)


def greedy_by_hand(loaded, prompt: str, max_new_tokens: int) -> tuple[list[int], str]:
    """One prompt, no cache, no padding."""
    model, tokenizer = loaded
    ids = tokenizer(prompt)["input_ids"]
    new: list[int] = []
    while len(new) < max_new_tokens and (not new or new[-1] != tokenizer.eos_token_id):
        with torch.no_grad():
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    return new, tokenizer.decode(ids + new, skip_special_tokens=True)[len(prompt) :]


def test_greedy_batches_equal_decoding_by_hand(loaded, tmp_path):
    completions = decode(loaded, problems(), GREEDY, tmp_path / "out.jsonl")
    assert [c["task_id"] for c in completions] == [p.task_id for p in problems()]
    for completion, prompt in zip(completions, PROMPTS, strict=True):
        ids, text = greedy_by_hand(loaded, prompt, GREEDY.max_new_tokens)
        assert completion["completion"] == text
        assert completion["tokens"] == len(ids)
        assert completion["truncated"] == (ids[-1] != loaded[1].eos_token_id)


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_with_virtual_tokens_batches_equal_decoding_by_hand(loaded, tmp_path_factory, kind):
    """PEFT puts prompt tuning's tokens before the padding of a short prompt, and drops position ids."""
    base = tiny.make_base(tmp_path_factory.mktemp("base"))
    settings = ADAPTERS[kind].settings(kind=kind, tokens=3)
    model = adapters.add(models.load_model(base, "fp32", "cpu"), settings).eval()
    adapted, short = (model, loaded[1]), dataclasses.replace(GREEDY, max_new_tokens=12)
    completions = decode(adapted, problems(), short, base / "out.jsonl")
    ends = generate_module.end_tokens(model, loaded[1])

    def by_hand(pair) -> list[str]:
        """Up to the first special token, at which a text ends."""
        found = []
        for prompt in PROMPTS:
            ids, _ = greedy_by_hand(pair, prompt, short.max_new_tokens)
            new = list(itertools.takewhile(lambda i: i not in ends, ids))
            found.append(loaded[1].decode(loaded[1](prompt)["input_ids"] + new)[len(prompt) :])
        return found

    assert texts(completions) == by_hand(adapted) != by_hand(loaded)


def test_the_end_of_text_token_ends_a_completion(loaded, tmp_path):
    """The model is made to say it after three tokens of its own choice."""
    model, tokenizer = loaded
    ids = greedy_by_hand(loaded, PROMPTS[0], 4)[0]
    tokenizer = models.load_tokenizer(Path(tokenizer.name_or_path))
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ids[3])
    [completion] = decode((model, tokenizer), problems()[:1], GREEDY, tmp_path / "out.jsonl")
    assert ids[3] not in ids[:3]
    assert (completion["tokens"], completion["truncated"]) == (4, False)
    assert completion["completion"] == tokenizer.decode(ids[:3])


@pytest.mark.parametrize("beams", [None, 2])
@pytest.mark.parametrize("place", ["generation_config", "config"])
def test_each_end_of_text_token_ends_a_completion(loaded, tmp_path, monkeypatch, place, beams):
    """Qwen2.5 has two, and its tokenizer names one."""
    model, tokenizer = loaded
    settings = dataclasses.replace(GREEDY, num_beams=beams)
    [whole] = decode(loaded, problems()[:1], settings, tmp_path / "whole.jsonl")
    ids = tokenizer(PROMPTS[0] + whole["completion"])["input_ids"]
    third = greedy_by_hand(loaded, PROMPTS[0], 4)[0][3] if beams is None else ids[-4]
    monkeypatch.setattr(getattr(model, place), "eos_token_id", [tokenizer.eos_token_id, third])
    [completion] = decode(loaded, problems()[:1], settings, tmp_path / "out.jsonl")
    assert completion["tokens"] < whole["tokens"] and not completion["truncated"]
    assert third not in tokenizer(PROMPTS[0] + completion["completion"])["input_ids"]
    if beams is None:
        assert completion["tokens"] == 4
        assert whole["completion"].startswith(completion["completion"])


def test_nothing_is_glued_across_a_special_token(loaded, tmp_path):
    """A program holds none, so the text ends there."""
    model, tokenizer = loaded
    ids = greedy_by_hand(loaded, PROMPTS[0], 4)[0]
    tokenizer = models.load_tokenizer(Path(tokenizer.name_or_path))
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [tokenizer.convert_ids_to_tokens(ids[3])]}
    )
    assert tokenizer.eos_token_id != ids[3]
    [completion] = decode((model, tokenizer), problems()[:1], GREEDY, tmp_path / "out.jsonl")
    assert completion["completion"] == loaded[1].decode(ids[:3])
    assert (completion["tokens"], completion["truncated"]) == (4, False)


def test_each_row_stops_at_its_own_stop_string(loaded, tmp_path):
    whole = decode(loaded, problems(), GREEDY, tmp_path / "whole.jsonl")
    stops = [c["completion"][7:9] for c in whole]  # found in the text of that row
    wanted = [dataclasses.replace(p, stop=(s,)) for p, s in zip(problems(), stops, strict=True)]
    stopped = decode(loaded, wanted, GREEDY, tmp_path / "stopped.jsonl")
    for completion, before, stop in zip(stopped, whole, stops, strict=True):
        assert completion["completion"] == before["completion"].split(stop)[0]
        assert not completion["truncated"]
        assert completion["tokens"] <= before["tokens"]


def test_stop_strings_save_steps(loaded, tmp_path):
    """All rows have met their stop string within eight tokens: the rest is not decoded."""
    whole = decode(loaded, problems(), GREEDY, tmp_path / "whole.jsonl")
    wanted = [
        dataclasses.replace(p, stop=(c["completion"][:2],))
        for p, c in zip(problems(), whole, strict=True)
    ]
    stopped = decode(loaded, wanted, GREEDY, tmp_path / "stopped.jsonl")
    assert max(c["tokens"] for c in stopped) <= 8 < GREEDY.max_new_tokens


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("a\ndef b\nclass", ("\nclass", "\ndef"), ("a", True)),
        ("a", ("\ndef",), ("a", False)),
        ("\ndef", ("\ndef",), ("", True)),
        ("a\n    }\n  }", ("\n    }\n",), ("a", True)),
        ("anything", (), ("anything", False)),
    ],
)
def test_cut_at_the_first_stop_string(text, stop, expected):
    assert cut_at_stop(text, stop) == expected


def test_eager_attention_writes_the_same_texts(loaded, tmp_path):
    """Which takes no boolean mask."""
    model = models.load_model(Path(loaded[1].name_or_path), "fp32", "cpu", "eager")
    got = decode((model, loaded[1]), problems(), GREEDY, tmp_path / "eager.jsonl")
    assert got == decode(loaded, problems(), GREEDY, tmp_path / "sdpa.jsonl")


PENALISED = dataclasses.replace(GREEDY, repetition_penalty=1.3)


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED, PENALISED])
def test_batch_size_and_order_make_no_difference(loaded, tmp_path, settings):
    one = decode(loaded, problems(), settings, tmp_path / "one.jsonl", batch_size=1)
    all_ = decode(loaded, problems(), settings, tmp_path / "all.jsonl", batch_size=64)
    reverse = decode(loaded, problems()[::-1], settings, tmp_path / "reverse.jsonl", batch_size=3)
    key = lambda c: (c["task_id"], c["sample"])
    assert texts(one) == texts(all_) == texts(sorted(reverse, key=key))


def test_samples_differ_and_the_seed_decides_them(loaded, tmp_path):
    first = decode(loaded, problems(), SAMPLED, tmp_path / "a.jsonl")
    assert len(set(texts(first))) == len(first) == 10
    assert texts(first) == texts(decode(loaded, problems(), SAMPLED, tmp_path / "b.jsonl"))
    assert texts(first) != texts(decode(loaded, problems(), SAMPLED, tmp_path / "c.jsonl", seed=2))


def test_sampling_follows_the_distribution():
    """Evenly spaced uniform numbers hit each token as often as its probability says, to one hit."""
    scores = torch.tensor([2.0, -torch.inf, 0.5, -1.0, 1.0])
    n = 1000
    uniforms = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    settings = dataclasses.replace(GREEDY, temperature=0.8)
    counts = torch.bincount(draw(scores.expand(n, -1), uniforms, settings), minlength=5)
    assert (counts - n * (scores / 0.8).softmax(dim=-1)).abs().max() <= 1
    assert counts[1] == 0


@pytest.mark.parametrize("top", [{}, {"top_p": 0.9}, {"top_k": 4}])
def test_sampling_never_takes_an_impossible_token(top):
    """At the very ends of the unit interval, too, where rounding bites."""
    scores = torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.3, -torch.inf]] * 2)
    uniforms = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    settings = dataclasses.replace(GREEDY, temperature=1.0, **top)
    assert draw(scores, uniforms, settings).tolist() == [1, 3]


@pytest.mark.parametrize("candidates", [8, 64, 1000])
@pytest.mark.parametrize(
    "top", [{"top_p": 0.95}, {"top_p": 0.3}, {"top_k": 5}, {"top_k": 40, "top_p": 0.8}]
)
def test_sampling_leaves_out_what_transformers_does(monkeypatch, candidates, top):
    """But for ties. Whether or not the candidates hold all that is left."""
    monkeypatch.setattr(generate_module, "_CANDIDATES", candidates)
    generator = torch.Generator().manual_seed(3)
    scores = (2 * torch.randn(50, 300, generator=generator)).to(torch.bfloat16).float()
    uniforms = torch.rand(50, generator=generator, dtype=torch.float64)
    settings = dataclasses.replace(GREEDY, temperature=0.7, **top)
    warm = left = TemperatureLogitsWarper(0.7)(None, scores)
    if "top_k" in top:
        left = TopKLogitsWarper(top["top_k"])(None, left)
    if "top_p" in top:
        left = TopPLogitsWarper(top["top_p"])(None, left)
    least = left.masked_fill(left == -torch.inf, torch.inf).amin(-1, keepdim=True)
    assert (warm >= least).sum() > (left >= least).sum() or "top_p" not in top  # a tie is cut
    cumulative = warm.masked_fill(warm < least, -torch.inf).double().softmax(-1).cumsum(-1)
    expected = [int((row <= u).sum()) for row, u in zip(cumulative, uniforms, strict=True)]
    assert draw(scores, uniforms, settings).tolist() == expected


def test_sampling_in_transformers_greedy_decoding():
    """One token a row; the rest is -inf."""
    scores = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    uniforms = torch.tensor([[0.0, 0.99], [0.0, 0.99]], dtype=torch.float64)
    settings = dataclasses.replace(GREEDY, temperature=1.0)
    chosen = Sample(uniforms, 3, settings)(torch.zeros(2, 4, dtype=torch.long), scores)
    assert chosen.tolist() == [[-torch.inf, -torch.inf, 0], [-torch.inf, -torch.inf, 0]]


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_an_interrupted_generation_goes_on(loaded, tmp_path, settings):
    whole = tmp_path / "whole.jsonl"
    expected = decode(loaded, problems(), settings, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])  # killed while it wrote
    assert decode(loaded, problems(), settings, cut) == expected
    for line in cut.read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_nothing_is_generated_twice(loaded, tmp_path):
    output = tmp_path / "out.jsonl"
    expected = decode(loaded, problems(), GREEDY, output)
    no_model = (None, loaded[1])
    assert decode(no_model, problems(), GREEDY, output) == expected


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_generates(loaded, tmp_path, precision):
    model = models.load_model(Path(loaded[1].name_or_path), precision, "cpu")
    completions = decode((model, loaded[1]), problems(), GREEDY, tmp_path / "out.jsonl")
    assert all(0 < c["tokens"] <= GREEDY.max_new_tokens for c in completions)


def test_a_line_separator_in_a_completion_ends_no_row(tmp_path):
    row = {"task_id": "a", "sample": 0, "completion": "x\u2028y\x85z"}
    path = tmp_path / "completions.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n{half", encoding="utf-8")
    assert list(_read_whole_lines(path)) == [row]


# --- who is in the batch --------------------------------------------------------------------------


class Passes:
    """What went through a model: of each pass the rows, the tokens and the columns of the mask."""

    def __init__(self, model, monkeypatch, fail_at: int | None = None) -> None:
        self.shapes: list[tuple[int, int, int]] = []
        forward = model.forward

        def watched(*args, **kwargs):
            if len(self.shapes) == fail_at:
                raise KeyboardInterrupt
            self.shapes.append((*kwargs["input_ids"].shape, kwargs["attention_mask"].shape[-1]))
            return forward(*args, **kwargs)

        # The signature stays, which is looked at.
        monkeypatch.setattr(model, "forward", functools.wraps(forward)(watched))

    def prompts(self) -> int:
        return sum(rows for rows, tokens, _ in self.shapes if tokens > 1)

    def steps(self) -> int:
        return sum(rows for rows, tokens, _ in self.shapes if tokens == 1)


def of_many_lengths(loaded, tmp_path) -> tuple[list[Problem], list[str]]:
    """Problems whose completions end at stop strings after 2 to 20 characters; the completions."""
    ways = [dataclasses.replace(p, task_id=f"{p.task_id}/{i}") for p in problems() for i in "abc"]
    whole = texts(decode(loaded, ways, GREEDY, tmp_path / "many.jsonl", batch_size=1))
    wanted, expected = [], []
    for i, (problem, text) in enumerate(zip(ways, whole, strict=True)):
        stop = text[2 + 7 * i % 19 :][:2]
        wanted.append(dataclasses.replace(problem, stop=(stop,) if stop else ()))
        expected.append(text.split(stop)[0] if stop else text)
    return wanted, expected


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_no_pass_is_spent_on_a_row_that_has_ended(loaded, tmp_path, monkeypatch, batch_size):
    """In batches so small that each row leaves at once."""
    wanted, expected = of_many_lengths(loaded, tmp_path)
    passes = Passes(loaded[0], monkeypatch)
    got = decode(loaded, wanted, GREEDY, tmp_path / "out.jsonl", batch_size=batch_size)
    assert texts(got) == expected
    assert len({c["tokens"] for c in got}) > 3
    assert max(rows for rows, _, _ in passes.shapes) == batch_size
    assert passes.prompts() == len(wanted)
    assert passes.steps() == sum(c["tokens"] - 1 for c in got)


def test_a_large_batch_waits_for_an_eighth(loaded, tmp_path, monkeypatch):
    wanted, expected = of_many_lengths(loaded, tmp_path)
    passes = Passes(loaded[0], monkeypatch)
    got = decode(loaded, wanted, GREEDY, tmp_path / "out.jsonl", batch_size=16)
    assert texts(got) == expected
    needed = sum(c["tokens"] - 1 for c in got)
    assert needed < passes.steps() < needed + len(passes.shapes) * len(wanted) / 8
    sizes = [rows for rows, tokens, _ in passes.shapes if tokens == 1]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 3


def test_samples_of_a_problem_share_the_pass_of_its_prompt(loaded, tmp_path, monkeypatch):
    settings = dataclasses.replace(SAMPLED, samples=8)
    expected = decode(loaded, problems(), settings, tmp_path / "one.jsonl", batch_size=1)
    passes = Passes(loaded[0], monkeypatch)
    assert decode(loaded, problems(), settings, tmp_path / "out.jsonl", batch_size=64) == expected
    assert passes.prompts() == len(problems())


def test_the_cache_keeps_no_columns_that_only_ended_rows_use(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(generate_module, "_DEAD_COLUMNS", 4)
    long = greedy_by_hand(loaded, "x = 1\n" * 30, 4)[1]
    first = Problem("long", "python", "x = 1\n" * 30, "", (long[:2],))
    rest = [
        dataclasses.replace(p, task_id=f"{p.task_id}/{i}") for p in problems() for i in range(3)
    ]
    expected = decode(loaded, [first, *rest], GREEDY, tmp_path / "one.jsonl", batch_size=1)
    passes = Passes(loaded[0], monkeypatch)
    got = decode(loaded, [first, *rest], GREEDY, tmp_path / "out.jsonl", batch_size=16)
    assert texts(got) == texts(expected)
    widths = [width for _, tokens, width in passes.shapes if tokens == 1]
    longest = max(len(loaded[1](p)["input_ids"]) for p in PROMPTS)
    assert widths[0] > 60 > longest + GREEDY.max_new_tokens + 4 >= widths[-1]


def test_a_killed_process_keeps_what_had_ended(loaded, tmp_path, monkeypatch):
    wanted, expected = of_many_lengths(loaded, tmp_path)
    output = tmp_path / "out.jsonl"
    with monkeypatch.context() as context:
        Passes(loaded[0], context, fail_at=12)
        with pytest.raises(KeyboardInterrupt):
            decode(loaded, wanted, GREEDY, output)
    kept = list(_read_whole_lines(output))
    assert 0 < len(kept) < len(wanted)
    passes = Passes(loaded[0], monkeypatch)
    assert texts(decode(loaded, wanted, GREEDY, output)) == expected
    assert passes.prompts() == len(wanted) - len(kept)


# --- beams, penalties, caches ---------------------------------------------------------------------

BEAMS = dataclasses.replace(GREEDY, num_beams=3)
BEAM_SAMPLED = dataclasses.replace(BEAMS, temperature=0.8, top_p=0.95, top_k=50)


def beam_by_hand(loaded, prompt: str, steps: int, beams: int) -> tuple[float, str]:
    """Beam search of one prompt over a fixed number of steps in which nothing ends."""
    model, tokenizer = loaded
    ids = tokenizer(prompt)["input_ids"]
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(steps):
        wider = []
        for score, new in kept:
            with torch.no_grad():
                logits = model(torch.tensor([ids + new])).logits[0, -1].log_softmax(-1)
            logits[tokenizer.eos_token_id] = -torch.inf
            best = logits.topk(beams)
            pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
            wider += [(score + value, [*new, token]) for value, token in pairs]
        kept = sorted(wider, reverse=True)[:beams]
    return kept[0][0], tokenizer.decode(ids + kept[0][1], skip_special_tokens=True)[len(prompt) :]


def test_beam_search_equals_the_search_by_hand(loaded, tmp_path):
    settings = dataclasses.replace(BEAMS, max_new_tokens=5)
    completions = decode(loaded, problems(), settings, tmp_path / "out.jsonl")
    checked = 0
    for completion, prompt in zip(completions, PROMPTS, strict=True):
        if completion["tokens"] == 5 and completion["truncated"]:  # nothing ended before
            assert completion["completion"] == beam_by_hand(loaded, prompt, 5, 3)[1]
            checked += 1
    assert checked >= 3


@pytest.mark.parametrize("settings", [BEAMS, BEAM_SAMPLED], ids=["beam search", "beam sampling"])
def test_batch_size_makes_no_difference_to_beams(loaded, tmp_path, settings):
    one = decode(loaded, problems(), settings, tmp_path / "one.jsonl", batch_size=1)
    all_ = decode(loaded, problems(), settings, tmp_path / "all.jsonl", batch_size=64)
    assert texts(one) == texts(all_)


def test_beam_sampling_follows_the_seed_and_leaves_torchs_alone(loaded, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = decode(loaded, problems(), BEAM_SAMPLED, tmp_path / "a.jsonl")
    assert torch.equal(torch.rand(3), expected)
    assert texts(first) == texts(decode(loaded, problems(), BEAM_SAMPLED, tmp_path / "b.jsonl"))
    other = decode(loaded, problems(), BEAM_SAMPLED, tmp_path / "c.jsonl", seed=2)
    assert texts(first) != texts(other)


def test_a_stop_string_ends_beams(loaded, tmp_path):
    whole = decode(loaded, problems(), BEAMS, tmp_path / "whole.jsonl")
    stop = {c["task_id"]: c["completion"][3:5] for c in whole}
    wanted = [dataclasses.replace(p, stop=(stop[p.task_id],)) for p in problems()]
    for completion in decode(loaded, wanted, BEAMS, tmp_path / "stopped.jsonl"):
        assert stop[completion["task_id"]] not in completion["completion"]
        assert not completion["truncated"] or completion["tokens"] == BEAMS.max_new_tokens


def test_a_stop_of_the_settings_replaces_the_problems(loaded, tmp_path):
    whole = decode(loaded, problems(), GREEDY, tmp_path / "whole.jsonl")
    stop = whole[0]["completion"][4:6]
    settings = dataclasses.replace(GREEDY, stop=(stop,))
    stopped = decode(loaded, problems(("never said",)), settings, tmp_path / "stopped.jsonl")
    assert texts(stopped) == [text.split(stop)[0] for text in texts(whole)]


def test_the_repetition_penalty_does_not_see_padding(loaded, tmp_path):
    """Padding is the end-of-text token in some tokenizers: penalised, texts would end later in a batch."""
    model, tokenizer = loaded
    tokenizer = models.load_tokenizer(Path(tokenizer.name_or_path))
    tokenizer.pad_token = tokenizer.eos_token
    settings = dataclasses.replace(GREEDY, repetition_penalty=1.3)
    one = decode((model, tokenizer), problems(), settings, tmp_path / "1.jsonl", batch_size=1)
    all_ = decode((model, tokenizer), problems(), settings, tmp_path / "all.jsonl", batch_size=64)
    assert texts(one) == texts(all_)
    assert texts(one) != texts(decode(loaded, problems(), GREEDY, tmp_path / "greedy.jsonl"))


def test_top_1_sampling_is_greedy(loaded, tmp_path):
    settings = dataclasses.replace(SAMPLED, samples=1, top_k=1)
    assert texts(decode(loaded, problems(), settings, tmp_path / "one.jsonl")) == texts(
        decode(loaded, problems(), GREEDY, tmp_path / "greedy.jsonl")
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_beams": 1}, "num_beams is 2 or more"),
        ({"length_penalty": 1.1}, "belong to beam search"),
        ({"num_beams": 2, "samples": 3}, "one completion a problem"),
    ],
)
def test_settings_that_do_not_fit_together(loaded, tmp_path, changed, message):
    with pytest.raises(FlexError, match=message):
        decode(loaded, problems(), dataclasses.replace(GREEDY, **changed), tmp_path / "out.jsonl")


def test_the_growing_cache_holds_what_was_appended():
    layer, whole = GrowingLayer(), torch.randn(2, 3, 300, 4)
    for start, end in [(0, 120), (120, 121), (121, 135), (135, 300)]:  # within and over blocks
        keys, values = layer.update(whole[:, :, start:end], -whole[:, :, start:end])
        assert torch.equal(keys, whole[:, :, :end]) and torch.equal(values, -whole[:, :, :end])
        assert layer.get_seq_length() == end


def test_rows_leave_and_join_the_growing_cache():
    """The rows that stay lose what is before the longest of them; all end in the same column."""
    own, other = torch.randn(3, 2, 140, 4), torch.randn(2, 2, 150, 4)
    layer, joining = GrowingLayer(), GrowingLayer()
    layer.update(own, -own)
    joining.update(other, -other)
    layer.rejoin(torch.tensor([2, 0, 2]), 130, joining)
    keys, values = layer.update(torch.ones(5, 2, 1, 4), torch.ones(5, 2, 1, 4))
    assert layer.get_seq_length() == 151
    assert torch.equal(keys[:3, :, 20:150], own[[2, 0, 2], :, 10:])
    assert torch.equal(values[3:, :, :150], -other)
    assert (keys[:3, :, :20] == 0).all() and (keys[:, :, 150] == 1).all()


def test_a_compiled_models_cache_writes_the_same_texts(loaded, tmp_path):
    """Of fixed size, by transformers' own loop."""
    expected = texts(decode(loaded, problems(), SAMPLED, tmp_path / "a.jsonl"))
    got = decode(loaded, problems(), SAMPLED, tmp_path / "b.jsonl", static_cache=True)
    assert texts(got) == expected


@pytest.mark.parametrize(("protocol", "begins"), [(None, [7]), ("chat", [])])
def test_a_prompt_in_chat_format_has_its_special_tokens_once(
    loaded, tmp_path, monkeypatch, protocol, begins
):
    """Its template wrote them; a tokenizer that begins every text with one would add another."""
    model, plain = loaded
    seen: dict[str, list[int]] = {}

    class Beginning(type(plain)):
        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [7] * add_special_tokens + super().__call__(text)["input_ids"]}

    def complete(model, tokenizer, missing, prompts, *_):
        seen.update(prompts)
        yield [{"task_id": p.task_id, "sample": i, "completion": ""} for p, i in missing]

    tokenizer = copy.copy(plain)
    tokenizer.__class__ = Beginning
    monkeypatch.setattr(generate_module, "complete", complete)
    settings = dataclasses.replace(GREEDY, protocol=protocol)
    decode((model, tokenizer), problems(), settings, tmp_path / "a.jsonl")
    assert seen == {p.task_id: begins + plain(p.prompt)["input_ids"] for p in problems()}
