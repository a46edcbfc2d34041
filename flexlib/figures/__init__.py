"""The figures of the book: one function a figure, a tidy table in, matplotlib Axes out.

One module a family; a chapter calls them as ``figures.pass_rates``.
"""

from flexlib.figures.curves import convergence, lines, sweep
from flexlib.figures.inference import best_of_many, power, selection_gain
from flexlib.figures.optimizers import loss_by_cost, steps_to_target, unclipped
from flexlib.figures.rates import (
    by_operations,
    differences,
    pass_rates,
    transfer,
    verdict_composition,
)
from flexlib.figures.spectra import against_null, by_layer, singular_values
from flexlib.figures.states import by_language
from flexlib.figures.style import not_run

__all__ = [
    "against_null",
    "best_of_many",
    "by_language",
    "by_layer",
    "by_operations",
    "convergence",
    "differences",
    "lines",
    "loss_by_cost",
    "not_run",
    "pass_rates",
    "power",
    "selection_gain",
    "singular_values",
    "steps_to_target",
    "sweep",
    "transfer",
    "unclipped",
    "verdict_composition",
]
