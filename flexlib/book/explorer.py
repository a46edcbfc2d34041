"""What the page "Read the programs" shows: every stored program, in files that a page from disk can load.

A page opened from disk may not fetch, but it may load scripts. So every benchmark of a profile becomes
``_data/programs/PROFILE-BENCHMARK.js``, gzipped and in base64, loaded when it is asked for::

    {"tasks": [{"id", "prompt" or null, "programs": [text, ...]}],
     "verdicts": [name, ...], "details": [text, ...],
     "runs": [{"arm", "seed", "id", "answers": [[program, verdict, detail] for each task]}]}

Most programs of a task are equal, so each is kept once. ``index.js`` says which files there are. Of several
samples a problem the first is kept. The prompts of benchmarks that are not part of this repository are
shown only if a folder of them is at hand (FLEX_BENCHMARK_DATA) as the site is built, under their licences.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

from flexlib import config as configs
from flexlib.errors import FlexError
from flexlib.grading import VERDICTS
from flexlib.runs import store
from flexlib.tasks import languages
from flexlib.tasks.benchmarks import load_benchmark

LIMIT = 3_000_000  # bytes of a file

#: What a benchmark is called together with its translations, and what is due to its authors.
FAMILIES = {
    "nanobench": "NanoBench",
    "humaneval": "HumanEval",
    "multipl-e": "HumanEval",
    "multipl-e-mbpp": "MBPP",
    "mbpp": "MBPP",
}
_MULTIPL_E = (
    "Prompts: MultiPL-E, Cassano et al. 2022, BSD 3-Clause with a clause against training on it"
)
NOTICES = {
    "nanobench": "NanoBench is part of this study (MIT).",
    "humaneval": "Prompts: HumanEval, Chen et al. 2021, MIT.",
    "multipl-e": f"{_MULTIPL_E}; translated from HumanEval, Chen et al. 2021, MIT.",
    "multipl-e-mbpp": f"{_MULTIPL_E}; adapted from MBPP, Austin et al. 2021, CC BY 4.0.",
    "mbpp": "Prompts: MBPP, Austin et al. 2021, CC BY 4.0; laid out as docstrings.",
}

WITHHELD = (
    "The prompts of {} are not part of this repository and were not at hand when this site was built: "
    "only the programs are shown."
)

_log = logging.getLogger(__name__)


def family(benchmark: str) -> str:
    """A benchmark's key in FAMILIES and NOTICES: its name without the language."""
    if benchmark.startswith("multipl-e-mbpp"):
        return "multipl-e-mbpp"
    return next(
        key for key in ("nanobench", "humaneval", "multipl-e", "mbpp") if benchmark.startswith(key)
    )


def prompts(benchmark: str, data_dir: str | None) -> dict[str, str] | None:
    """The prompts by task, or None where they are not at hand. Nothing is fetched."""
    if not benchmark.startswith("nanobench-") and not data_dir:
        return None
    try:
        return {p.task_id: p.prompt for p in load_benchmark(benchmark, data_dir)}
    except FlexError as error:
        _log.info("no prompts of %s: %s", benchmark, error)
        return None


def licence(benchmark: str, data_dir: str | None) -> str:
    """The licence text that lies beside a benchmark's files, which goes where its prompts go."""
    path = Path(data_dir or "", family(benchmark).removesuffix("-mbpp"), "LICENSE")
    return path.read_text(encoding="utf-8") if data_dir and path.is_file() else ""


def collect(runs: Iterable[Path], benchmark: str, texts: dict[str, str] | None) -> dict[str, Any]:
    """The programs of one benchmark in the layout above; ``runs`` are folders of one profile."""
    tasks: dict[str, dict[str, int]] = {}
    verdicts = list(VERDICTS)
    details: dict[str, int] = {"": 0}
    shown = []
    for run in runs:
        config = store.read_config(run)
        judged = {
            (row["task_id"], int(row["sample"])): row for row in store.read_verdicts(run, benchmark)
        }
        answers = {}
        for row in store.read_completions(run, benchmark):
            place = (row["task_id"], row["sample"])
            if row["sample"] or place not in judged:
                continue
            programs = tasks.setdefault(row["task_id"], {})
            number = programs.setdefault(row["completion"], len(programs))
            verdict = judged[place]
            detail = details.setdefault(verdict["detail"], len(details))
            answers[row["task_id"]] = [number, verdicts.index(verdict["verdict"]), detail]
        arm = configs.label_of(config)
        shown.append({"arm": arm, "seed": config["seed"], "id": run.name, "answers": answers})
    shown.sort(key=lambda r: (r["arm"] != "base", r["arm"], r["seed"]))
    for row in shown:
        row["answers"] = [row["answers"].get(task) for task in tasks]
    return {
        "tasks": [
            {"id": task, "prompt": texts.get(task) if texts else None, "programs": list(programs)}
            for task, programs in tasks.items()
        ],
        "verdicts": verdicts,
        "details": list(details),
        "runs": shown,
    }


def as_script(name: str, content: dict[str, Any]) -> bytes:
    """The content as a script that hands it to the page."""
    packed = gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0)
    return f'flexPrograms({json.dumps(name)}, "{base64.b64encode(packed).decode()}");\n'.encode()


def fitting(name: str, runs: list[Path], benchmark: str, texts: dict[str, str] | None,
            limit: int = LIMIT) -> tuple[bytes, str]:  # fmt: skip
    """The script of a benchmark, with as many seeds of each arm as fit, and a note if these are not all.

    Raises:
        FlexError: not even one seed an arm fits.
    """
    seeds: dict[str, list[Path]] = {}
    for run in sorted(runs, key=lambda r: store.read_config(r)["seed"]):
        config = store.read_config(run)
        seeds.setdefault(configs.label_of(config), []).append(run)
    most = max(map(len, seeds.values()))
    for kept in range(most, 0, -1):
        chosen = [run for of_arm in seeds.values() for run in of_arm[:kept]]
        script = as_script(name, collect(chosen, benchmark, texts))
        if len(script) <= limit:
            return script, "" if kept == most else f"The first {kept} seeds of every arm are here."
    raise FlexError(f"the programs of {name} take more than {limit} bytes with one seed an arm")


def write(runs_folder: Path, target: Path, data_dir: str | None) -> list[dict[str, Any]]:
    """Write all files for the stored runs; returns what ``index.js`` lists."""
    by_benchmark: dict[tuple[str, str], list[Path]] = {}
    for run in store.run_folders(runs_folder):
        if store.is_compact(run):
            continue
        config = store.read_config(run)
        for benchmark in config["benchmarks"]:
            by_benchmark.setdefault((config["profile"], benchmark), []).append(run)
    target.mkdir(parents=True, exist_ok=True)
    entries = []
    for (profile, benchmark), runs in sorted(by_benchmark.items()):
        name, key = f"{profile}-{benchmark}", family(benchmark)
        texts = prompts(benchmark, data_dir)
        script, note = fitting(name, runs, benchmark, texts)
        (target / f"{name}.js").write_bytes(script)
        notice = NOTICES[key] if texts else WITHHELD.format(FAMILIES[key])
        entries.append({
            "file": name,
            "profile": profile,
            "family": FAMILIES[key],
            "language": (language := store.read_config(runs[0])["benchmarks"][benchmark]["language"]),
            "title": languages.LANGUAGES[language].title,
            "notice": f"{notice} {note}".strip(),
            "licence": licence(benchmark, data_dir) if texts else "",
        })  # fmt: skip
    (target / "index.js").write_text(f"flexBenchmarks({json.dumps(entries)});\n", encoding="utf-8")
    return entries


def _stamp(runs_folder: Path, data_dir: str | None) -> str:
    """Changes when what the files are made of does."""
    total = hashlib.sha256(f"{data_dir}\0".encode())
    total.update(Path(__file__).read_bytes())
    for run in store.run_folders(runs_folder):
        total.update(run.name.encode())
        total.update((run / "provenance.json").read_bytes())
    return total.hexdigest()


def write_programs(app: Sphinx, exception: Exception | None) -> None:
    """After a build: write the files, unless those that are there were made from the same runs."""
    runs_folder = Path(app.srcdir).parent / "data" / "runs"
    if exception or app.builder.format != "html" or "programs" not in app.env.found_docs:
        return
    target = Path(app.outdir) / "_data" / "programs"
    data_dir = os.environ.get("FLEX_BENCHMARK_DATA")
    stamp, now = target / ".made-from", _stamp(runs_folder, data_dir)
    if not stamp.exists() or stamp.read_text() != now:
        write(runs_folder, target, data_dir)
        stamp.write_text(now)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", write_programs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
