"""The figure of the README, drawn from the store: `python -m flexlib.book.result` renews it.

A test compares the file with what the store gives, so that it cannot go stale.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl

from flexlib import figures, paths
from flexlib.figures.style import STYLE
from flexlib.runs import store
from flexlib.study import stats
from flexlib.tasks import languages

PATH = paths.ROOT / "book" / "_static" / "result.svg"
LANGUAGES = {name: languages.LANGUAGES[name].title for name in ("python", "java")}


def result_figure(folder: Path | None = None) -> bytes:
    """pass@1 of the base and of plain LoRA on the nano profile, as SVG on a white card."""
    verdicts = store.verdicts(folder, profile="nano")
    verdicts = verdicts[
        verdicts["arm"].isin(["base", "lora"]) & verdicts["language"].isin(LANGUAGES)
    ]
    rates = stats.arm_rates(verdicts, seed=0)
    rates["language"] = rates["language"].map(LANGUAGES)
    rates["arm"] = rates["arm"].map({"base": "nano base", "lora": "LoRA on Python"})
    with mpl.rc_context(STYLE | {"savefig.facecolor": "white", "savefig.transparent": False}):
        axes = figures.pass_rates(rates, series="language")
        axes.set_xlim(left=0)
        axes.set_xlabel("pass@1 on NanoBench (95 % interval over tasks and seeds)")
        target = io.BytesIO()
        figure = axes.get_figure(root=True)
        assert figure
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


if __name__ == "__main__":
    PATH.write_bytes(result_figure())
    print(f"wrote {PATH}")
