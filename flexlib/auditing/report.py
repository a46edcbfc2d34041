"""How an audit is said: one HTML file that needs nothing else, the same as JSON, and a few lines.

The HTML has its style and its figures in it, no script, and a policy that lets it load nothing. What
a model wrote is escaped wherever it stands.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from flexlib import disk
from flexlib.auditing import drawing, subject, weights
from flexlib.auditing.tables import Audit
from flexlib.errors import FlexError
from flexlib.tasks.languages import LANGUAGES

HTML, JSON = "audit.html", "audit.json"
SHOWN = 30  # programs of each benchmark and kind that the HTML shows; the JSON has all


def write(audit: Audit, folder: Path) -> Path:
    """Write ``audit.html`` and ``audit.json`` into a new folder, whole or not at all.

    Raises:
        FlexError: the folder exists and is not empty.
    """
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        disk.full_disk_is_an_error(folder.parent),
        tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside,
    ):
        made = Path(aside) / "report"
        made.mkdir()
        (made / HTML).write_bytes(to_html(audit).encode("utf-8", "replace"))
        (made / JSON).write_bytes(to_json(audit))
        try:
            made.rename(folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # made meanwhile
                raise _there_already(folder) from None
            raise
    return folder / HTML


def check_folder(folder: Path) -> None:
    """Raises: FlexError, if a report cannot be written there, or not without losing what is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise _there_already(folder)
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise FlexError(f"no report can be written in {above}; name another folder by --out")


def _there_already(folder: Path) -> FlexError:
    return FlexError(f"{folder} is there already; remove it, or name another folder by --out")


def to_json(audit: Audit) -> bytes:
    """Everything in the tables: an object of the fields of :class:`Audit`, tables as lists of rows. What is
    missing is null."""
    data = {f.name: _plain(getattr(audit, f.name)) for f in dataclasses.fields(audit)}
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "replace")


def summary(audit: Audit) -> list[str]:
    """The audit in a few lines of text."""
    facts = audit.facts
    lines = [f"{facts['adapter']} on {facts['base']}"]
    for row in audit.languages.to_dict("records"):
        samples = f" x {row['samples']}" if row["samples"] > 1 else ""
        lines.append(
            f"  {row['benchmark']}: {said(row)}; pass@1 {_percent(row['base'])} -> "
            f"{_percent(row['adapter'])}, {_interval(row)} points, {row['problems']} problems{samples}"
        )
    for language, why in audit.left_out.items():
        lines.append(f"  {language}: left out ({why})")
    return lines


def said(row: dict[str, Any]) -> str:
    """The word of a row of ``Audit.languages``, with its number."""
    if row["word"] == "no change larger than x":
        return f"no change larger than {_up(row['larger_than'])} points"
    if row["word"] == "cannot tell":
        return f"cannot tell ({int(row['n_that_could']):,} problems could)"
    return row["word"]


def to_html(audit: Audit) -> str:
    """The report as one HTML document."""
    facts = audit.facts
    title = f"Audit of {subject.short_name(facts['adapter'])}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _lead(audit),
        _languages(audit),
        _failures(audit),
        _form(audit),
        _programs(audit),
        _weights(audit),
        _merged(audit),
        _method(audit),
    ]
    return _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(filter(None, parts)))


# --- sections -----------------------------------------------------------------------------------


def _lead(audit: Audit) -> str:
    facts = audit.facts
    words = [
        f"<li><b>{escape(_name(row))}</b>: {_badge(row)}</li>"
        for row in audit.languages.to_dict("records")
    ]
    left = "".join(
        f"<li><b>{escape(LANGUAGES[name].title)}</b>: left out. {escape(why)}</li>"
        for name, why in audit.left_out.items()
    )
    return (
        f"<p>The adapter <code>{escape(facts['adapter'])}</code> on the base <code>"
        f"{escape(facts['base'])}</code>, both asked the same problems.</p>"
        f'<ul class="words">{"".join(words)}{left}</ul>'
    )


def _languages(audit: Audit) -> str:
    rows = audit.languages.to_dict("records")
    margin, confidence = audit.facts["margin"], 100 * (1 - audit.facts["alpha"])
    figure = drawing.intervals(
        [(_name(row), row["difference"], row["low"], row["high"]) for row in rows], margin
    )
    cells = [
        [
            _row_name(row),
            f"{row['problems']:,}" + (f" × {row['samples']}" if row["samples"] > 1 else ""),
            _percent(row["base"]),
            _percent(row["adapter"]),
            _signed(row["difference"]),
            f"{_signed(row['low'])} to {_signed(row['high'])}",
            "nothing" if pd.isna(row["detectable"]) else _up(row["detectable"]),
            _Html(_badge(row)),
        ]
        for row in rows
    ]
    head = [
        *("Language", "Problems", "Base, pass@1", "Adapter, pass@1", "Difference, points"),
        *("Interval", "Could have detected", "Verdict"),
    ]
    return (
        "<h2>Change of each language</h2>"
        + _figure(
            figure,
            "Difference of pass@1 by language, adapter minus base, in points, with its interval. The band "
            f"is the margin of {_points(margin)} points.",
        )
        + _table(
            head,
            cells,
            f"Paired by problem. The intervals are simultaneous over all rows, at {confidence:g} %; "
            "“could have detected” is the smallest change that this many problems would show in four "
            "of five tries.",
        )
    )


def _failures(audit: Audit) -> str:
    cells = [
        [
            _row_name(row),
            *(
                _percent(row[f"{arm}_{what}"])
                for what in ("not_compiling", "another_language")
                for arm in ("base", "adapter")
            ),
        ]
        for row in audit.languages.to_dict("records")
    ]
    head = [
        *("Language", "Base, does not compile", "Adapter, does not compile"),
        *("Base, another language", "Adapter, another language"),
    ]
    note = (
        "Shares of all answers. An answer is in another language if it does not compile and its lines "
        "look like that language; of languages whose look is not known here (–), it cannot be told."
    )
    return "<h2>Answers that are not programs</h2>" + _table(head, cells, note)


def _form(audit: Audit) -> str:
    ways = ("as_written", "as_graded", "alone")
    cells = [
        [
            _row_name(row),
            *(_signed(row[f"adapter_{way}"] - row[f"base_{way}"]) for way in ways),
            _signed(row["change_of_program"]),
            _signed(row["change_of_form"]),
        ]
        for row in audit.form.to_dict("records")
    ]
    head = [
        *("Language", "Whole answers", "As the protocol grades", "Programs alone"),
        *("Change of the program", "Change of the form"),
    ]
    note = (
        "Differences of pass@1, adapter minus base, in points. Whole answers are run as they were written; "
        "programs alone end where the asked function ends, without a fence, prose or code after it, and "
        "count as solved either way. The change of whole answers is the sum of the last two columns."
    )
    return "<h2>How much is form, and how much the program</h2>" + _table(head, cells, note)


def _programs(audit: Audit) -> str:
    parts = ["<h2>Programs that were fixed and broken</h2>"]
    for row in audit.languages.to_dict("records"):
        own = audit.programs[audit.programs["benchmark"] == row["benchmark"]]
        parts.append(f"<h3>{escape(_name(row))}</h3>")
        parts.append(
            f"<p>{row['fixed']} fixed and {row['broken']} broken, of {len(own)} answers.</p>"
        )
        for change in ("broken", "fixed"):
            chosen = own[own["change"] == change].to_dict("records")
            parts += [_program(program) for program in chosen[:SHOWN]]
            if len(chosen) > SHOWN:
                parts.append(
                    f"<p>{len(chosen) - SHOWN} more that were {change} are in <code>{JSON}</code>.</p>"
                )
    return "\n".join(parts)


def _program(row: dict[str, Any]) -> str:
    sides = "".join(
        f"<div><h4>{title}: {escape(row[f'{arm}_verdict'].replace('_', ' '))}</h4>"
        + (f"<p>{escape(row[f'{arm}_detail'])}</p>" if row[f"{arm}_detail"] else "")
        + f"{_code(row[f'{arm}_program'], f'program of the {arm}')}</div>"
        for arm, title in (("base", "Base"), ("adapter", "Adapter"))
    )
    sample = f", sample {row['sample']}" if row["sample"] else ""
    prompt = _code(row["prompt"], "prompt") if row["prompt"] else ""  # a kept audit has none
    return (
        f"<details><summary>{row['change']}: {escape(row['task_id'])}{sample}</summary>"
        f'{prompt}<div class="sides">{sides}</div></details>'
    )


def _weights(audit: Audit) -> str:
    head = "<h2>What the adapter adds to the weights</h2>"
    if audit.modules.empty:
        return f"{head}<p>Not defined: {escape(audit.facts.get('weights', 'no factors'))}.</p>"
    cells = [
        [
            str(row["projection"]),
            str(row["modules"]),
            f"{row['norm']:.3g}",
            _percent(row["relative_norm"]),
            *(
                _number(row[f"{null}{name}"])
                for name in ("effective_rank", "stable_rank")
                for null in ("", "random_")
            ),
            *(
                f"{row[name]:.0f} of {row['directions']:.0f}" if row["directions"] else "–"
                for name in ("intruders", "random_intruders")
            ),
        ]
        for row in weights.by_projection(audit.modules).to_dict("records")
    ]
    titles = [
        *("Projection", "Modules", "Norm", "Over the base's norm", "Effective rank", "… of random"),
        *("Stable rank", "… of random", "New directions", "… of random"),
    ]
    note = (
        "The norm is the Frobenius norm of all modules together; the other columns are means over modules. "
        "“Random” are factors of the same shapes and norm. New directions: those of the largest singular "
        "directions of the tuned weights that are like none of the base’s (|cosine| below 0.5; Shuttleworth "
        "et al. 2024)."
    )
    figures = []
    for quantity, title in _SPECTRA.items():
        own = audit.spectrum[audit.spectrum["quantity"] == quantity]
        if not own.empty:
            points = list(zip(own["x"], own["value"], own["null"], own["null_sd"], strict=True))
            figures.append(_figure(drawing.spectrum(points, _AXES[quantity]), title))
    return head + _table(titles, cells, note) + f'<div class="sides">{"".join(figures)}</div>'


_SPECTRA = {
    "singular_value": "Singular values of the update, in units of its norm, and those of random factors.",
    "row_share": "Energy of the update by frequency along its outputs, and that of the same update with "
    "its outputs renumbered: where they agree, the order of the index means nothing.",
    "column_share": "Energy of the update by frequency along its inputs, and that of the same update with "
    "its inputs renumbered.",
}
_AXES = {
    "singular_value": ("number", "singular value"),
    "row_share": ("frequency", "share of energy"),
    "column_share": ("frequency", "share of energy"),
}


def _merged(audit: Audit) -> str:
    if audit.merged is None:
        return ""
    logits = audit.facts["logits"]
    cells = [
        [
            _row_name(row),
            _percent(row["base"]),
            _percent(row["adapter"]),
            f"{row['fixed']} and {row['broken']}",
            f"{_signed(row['low'])} to {_signed(row['high'])}",
            _Html(_badge(row)),
        ]
        for row in audit.merged.to_dict("records")
    ]
    head = ["Language", "Beside the weights", "Merged", "Fixed and broken", "Interval", "Verdict"]
    note = (
        f"Computed in {logits['precision']}. On {logits['prompts']} prompts the logits differ by "
        f"{logits['max_logit_difference']:.2g} at most, and {logits['changed_tokens']} of "
        f"{logits['n']} likeliest tokens change."
    )
    return "<h2>Merged into the weights</h2>" + _table(head, cells, note)


def _method(audit: Audit) -> str:
    facts = audit.facts
    rows = [
        ("Adapter", f"{facts['adapter']}, sha256 {facts['adapter_sha256']}"),
        ("Base", f"{facts['base']}, sha256 {facts['base_sha256']}"),
        ("Asked by", f"profile {facts['profile']}; {_decoding(facts['decoding'])}"),
        *([("Planned", facts["plan"])] if facts["plan"] else []),
        ("Graded", "in the sandbox" if facts["sandboxed"] else "without a sandbox"),
        ("Runs", "; ".join(f"{arm}: " + ", ".join(
            f"{name} {run['run']} (made {run['made']})" for name, run in of_arm.items())
            for arm, of_arm in facts["runs"].items())),
        ("Made", f"{facts['utc']}, flexlib {facts['flexlib']}, {facts['gpu'] or facts['cpu']}"),
        ("Packages", ", ".join(f"{k} {v}" for k, v in facts["packages"].items())),
    ]  # fmt: skip
    margin = _points(facts["margin"])
    words = [
        ("gained, lost", "the interval lies above 0, or below it."),
        (
            "no change larger than x",
            f"the interval lies within the margin of {margin} points; x is the interval's farther end.",
        ),
        (
            "cannot tell",
            (
                "neither holds. The number is how many problems would give one of the other words in four of "
                "five tries, if the true difference is the one seen."
            ),
        ),
    ]
    listed = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in words)
    made = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in rows)
    return (
        f"<h2>What the words mean</h2><dl>{listed}</dl>"
        "<p>Differences are paired by problem. Of one answer a problem, an interval is the widest of Tango’s "
        "score interval, McNemar’s exact one and Clopper and Pearson’s of the problems that one model alone "
        "solves; of several, Student’s. All statements of this page’s "
        "first table are one family, tested by Holm’s procedure.</p>"
        f"<h2>How this was made</h2><dl>{made}</dl>"
    )


def _decoding(by_benchmark: Mapping[str, Mapping[str, Any]]) -> str:
    """How the benchmarks were asked: those that were asked alike, together."""
    alike: dict[str, list[str]] = {}
    for name, settings in by_benchmark.items():
        words = ", ".join(f"{key.replace('_', ' ')} {_plainly(v)}" for key, v in settings.items())
        alike.setdefault(words, []).append(name)
    if len(alike) == 1:
        return next(iter(alike))
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in alike.items())


# --- pieces -------------------------------------------------------------------------------------


class _Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], note: str) -> str:
    def cell(text: str, tag: str) -> str:
        if isinstance(text, _Html):  # words, where the others are numbers
            return f'<{tag} class="said">{text}</{tag.split(maxsplit=1)[0]}>'
        return f"<{tag}>{escape(text)}</{tag.split(maxsplit=1)[0]}>"

    titles = "".join(f'<th scope="col">{escape(t)}</th>' for t in head)
    body = "".join(
        "<tr>"
        + "".join(cell(text, "td" if i else 'th scope="row"') for i, text in enumerate(row))
        + "</tr>"
        for row in rows
    )
    label = escape(f"Table: {head[0]}, {head[1]} to {head[-1]}")
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="note">{escape(note)}</p>'
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _code(text: str, what: str) -> str:
    return f'<pre role="region" tabindex="0" aria-label="{what}"><code>{escape(text)}</code></pre>'


def _badge(row: dict[str, Any]) -> str:
    kind = row["word"].split()[0]  # gained, lost, no, cannot
    return f'<span class="word {kind}">{escape(said(row))}</span>'


def _name(row: dict[str, Any]) -> str:
    return f"{LANGUAGES[row['language']].title} ({row['benchmark']})"


def _row_name(row: dict[str, Any]) -> str:
    title = LANGUAGES[row["language"]].title
    return _Html(f"{escape(title)}<br><small>{escape(row['benchmark'])}</small>")


def _percent(share: float) -> str:
    return "–" if pd.isna(share) else f"{100 * share:.1f} %"


def _signed(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _points(share: float) -> str:
    return f"{100 * share:g}"


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"


def _plainly(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _up(share: float) -> str:
    """In points, rounded up: a bound that is rounded down would be none."""
    return f"{-(-round(share * 1e6) // 1000) / 10:.1f}"


def _interval(row: dict[str, Any]) -> str:
    return f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return [
            {k: None if pd.isna(v) else _plain(v) for k, v in row.items()}
            for row in value.to_dict("records")
        ]
    return value.item() if hasattr(value, "item") else value


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --line: #d0d7de;
  --code: #f3f5f7; --good: #116329; --bad: #a40e26; --plain: #0a4f9e; --open: #7a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #a5afba; --paper: #0f1318; --line: #3b444d; --code: #1a2027;
    --good: #5fce7b; --bad: #ff8f86; --plain: #86b9ff; --open: #e6b450; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.25rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { margin-top: 2.4rem; font-size: 1.3rem; }
h3 { font-size: 1.05rem; } h4 { margin: .4rem 0; font-size: .95rem; }
figure { margin: 1.2rem 0; } figcaption, .note { color: var(--soft); font-size: .9rem; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; color: var(--ink); }
.wide { overflow-x: auto; } table { border-collapse: collapse; min-width: 100%; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; vertical-align: top; }
thead th { font-weight: 600; font-size: .9rem; } tbody td { white-space: nowrap; }
th:first-child, td.said { text-align: left; } td.said { white-space: normal; min-width: 8rem; }
small { color: var(--soft); font-weight: 400; white-space: nowrap; }
.words { padding-left: 1.1rem; } .word { font-weight: 600; color: var(--plain); }
.gained { color: var(--good); } .lost { color: var(--bad); } .cannot { color: var(--open); }
details { margin: .4rem 0; border: 1px solid var(--line); border-radius: .3rem; padding: .4rem .7rem; }
summary { cursor: pointer; }
pre { overflow-x: auto; background: var(--code); padding: .6rem; border-radius: .3rem; margin: .4rem 0;
  font-size: .85rem; line-height: 1.4; overflow-wrap: normal; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
.sides > * { min-width: 0; margin: 0; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 1.1rem; }
"""
