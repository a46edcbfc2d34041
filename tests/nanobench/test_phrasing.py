"""One phrasing: the sentence that the generator would have made, had it no choice of words."""

from random import Random

from flexlib.nanobench import benchmark
from flexlib.nanobench.operations import OPERATIONS
from flexlib.nanobench.phrasing import one_phrasing
from flexlib.nanobench.tasks import sample_task

OPENINGS = {
    ("Return", "Find", "Compute"): "Find",
    ("Return", "Find"): "Find",
    ("Check", "Return"): "Check",
    ("Return a list of", "Collect"): "Return a list of",
    ("Return", "Compute"): "Return",
    ("Return", "Give back"): "Return",
    ("Join", "Return a string of"): "Return a string of",
}
WORDINGS = {op.wordings: op.wordings[-1] for op in OPERATIONS.values()}


class Decided(Random):
    """Draws what another one draws, but of every choice of words the same."""

    def choice(self, seq):
        drawn = super().choice(seq)
        said = {**OPENINGS, **WORDINGS}
        return said.get(seq, drawn) if isinstance(seq, tuple) else drawn


def test_every_text_is_that_of_a_generator_without_a_choice_of_words():
    frames, changed = set(), 0
    for seed in range(4000):
        task, same = sample_task(Random(seed)), sample_task(Decided(seed))
        assert (task.composition, task.function) == (same.composition, same.function)
        before, expected = benchmark.description(task), benchmark.description(same)
        assert one_phrasing(before, task.operations) == expected
        frames.add(task.composition.partition("|")[0])
        changed += before != expected
    assert len(frames) >= 11 and changed > 2000
