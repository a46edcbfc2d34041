"""Every value that a built book shows, to compare two builds number for number.

    python tools/glued.py dump > before.json         # of _build, after `make book`
    python tools/glued.py diff before.json after.json

A value is what a page glued under a name: a number or text as it is, a table as its Markdown, a figure
as the table that it was drawn from or, where it has none, as the digest of its SVG. ``diff`` names what
differs and ends with 1 if anything does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

BUILD = Path(__file__).resolve().parents[1] / "_build"


def glued(build: Path = BUILD) -> dict[str, str]:
    """``PAGE/NAME`` and its value, of all executed notebooks of a build."""
    notebooks = sorted((build / "jupyter_execute").glob("*.ipynb"))
    if not notebooks:
        sys.exit(f"{build} holds no executed notebook; run: make book")
    values = {}
    for path in notebooks:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                name = output.get("metadata", {}).get("scrapbook", {}).get("name")
                if name:
                    values[f"{path.stem}/{name}"] = _value(output)
    return values


def _value(output: dict[str, Any]) -> str:
    data = {kind: "".join(text) for kind, text in output["data"].items()}
    if "image/svg+xml" in data:
        table = output["metadata"].get("flexlib", {}).get("csv")
        return table or hashlib.sha256(data["image/svg+xml"].encode()).hexdigest()
    return data.get("text/markdown", data["text/plain"])


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """One line a value that is new, gone or another."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            lines.append(f"+ {name}")
        elif name not in after:
            lines.append(f"- {name}")
        elif before[name] != after[name]:
            lines.append(f"! {name}: {_changed(before[name], after[name])}")
    return lines


def _changed(before: str, after: str) -> str:
    """The first lines that differ."""
    pairs = zip([*before.splitlines(), ""], [*after.splitlines(), ""], strict=False)
    old, new = next(((a, b) for a, b in pairs if a != b), (before, after))
    return f"{old.strip()[:100]!r} -> {new.strip()[:100]!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    dump = commands.add_parser("dump", help="print the values of a build as JSON")
    dump.add_argument("build", nargs="?", type=Path, default=BUILD)
    diff = commands.add_parser("diff", help="compare two dumps")
    diff.add_argument("before", type=Path)
    diff.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.command == "dump":
        print(json.dumps(glued(args.build), indent=1, sort_keys=True, ensure_ascii=False))
        return
    before, after = (json.loads(p.read_text(encoding="utf-8")) for p in (args.before, args.after))
    lines = differences(before, after)
    print("\n".join(lines) or f"{len(after)} values, all the same")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
