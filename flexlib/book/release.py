"""A release: the site and all that it was made from in one archive, ``python -m flexlib.book.release``.

::

    flexlib-VERSION/
        site/                     the built book; site/index.html opens from disk
        book.pdf                  the same on paper
        flexlib/ book/ data/ ...  the repository as it is tracked: code, store, adapters, claims, environment
        ro-crate-metadata.json    what is what, in RO-Crate 1.1
        .zenodo.json              the same for Zenodo
        SHA256SUMS                of every other file: ``sha256sum -c SHA256SUMS``

Unpacked, with the packages of constraints.txt, ``python -m flexlib regrade`` judges every stored
program again, without a network. Equal content gives equal bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import Any

import yaml

from flexlib import __version__, paths
from flexlib.book import pdf
from flexlib.errors import FlexError

# The parts that RO-Crate describes, and how.
PARTS = {
    "site/": "The study as a web site",
    "book.pdf": "The study as a PDF",
    "flexlib/": "The package: training, generation, grading, statistics",
    "book/": "The study's pages: MyST notebooks",
    "data/runs/": "The results: configuration, programs, verdicts and adapter of every run",
    "data/audits/": "Audits of adapters of the real model, without the benchmarks' prompts",
    "data/claims.yml": "The claims, registered before the runs",
    "data/paper/": "The published figures that the study examines",
    "data/nano/": "NanoBench and the nano base model",
    "constraints.txt": "The packages, pinned",
    "environment.yml": "The conda environment",
    "SHA256SUMS": "sha256 of every file",
}


def tracked(root: Path) -> list[str]:
    """The files of the repository, by name.

    Raises:
        FlexError: this is no checkout.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False, text=True
    )
    if listed.returncode:
        raise FlexError("a release is made from a checkout: git does not know this folder")
    return sorted(name for name in listed.stdout.split("\0") if name and (root / name).is_file())


def members(root: Path, html: Path, book_pdf: Path) -> dict[str, bytes]:
    """Content of every file of the archive, by name.

    Raises:
        FlexError: there is no built site, or no checkout.
    """
    if not (html / "index.html").is_file():
        raise FlexError(f"no site in {html}: run make book")
    found = {name: (root / name).read_bytes() for name in tracked(root)}
    for path in sorted(html.rglob("*")):
        if path.is_file() and ".doctrees" not in path.parts:
            found[f"site/{path.relative_to(html).as_posix()}"] = path.read_bytes()
    found["book.pdf"] = book_pdf.read_bytes()
    work = citation(root)
    found["ro-crate-metadata.json"] = as_json(ro_crate(work, found))
    found[".zenodo.json"] = as_json(zenodo(work))
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(found.items())
    ]
    found["SHA256SUMS"] = "".join(lines).encode()
    return found


def citation(root: Path) -> dict[str, Any]:
    """The content of CITATION.cff."""
    return yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))


def as_json(data: Any) -> bytes:
    """Plain data as indented JSON, keys in their order."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def ro_crate(work: Mapping[str, Any], names: Mapping[str, bytes]) -> dict[str, Any]:
    """RO-Crate 1.1 metadata of the archive: the root, its parts that are there, and its authors."""
    present = {
        part: text for part, text in PARTS.items()
        if part == "SHA256SUMS" or any(name == part or name.startswith(part) for name in names)
    }  # fmt: skip
    authors = [
        {"@id": f"#{a['name']}", "@type": "Organization", "name": a["name"]}
        for a in work["authors"]
    ]
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
                "about": {"@id": "./"},
            },
            {
                "@id": "./",
                "@type": "Dataset",
                "name": work["title"],
                "description": " ".join(work["abstract"].split()),
                "datePublished": str(work["date-released"]),
                "version": str(work["version"]),
                "license": {"@id": f"https://spdx.org/licenses/{work['license']}"},
                "keywords": work["keywords"],
                "author": [{"@id": author["@id"]} for author in authors],
                "citation": [reference["url"] for reference in work["references"]],
                "hasPart": [{"@id": part} for part in present],
            },
            *authors,
            *(
                {"@id": part, "@type": "Dataset" if part.endswith("/") else "File", "name": text}
                for part, text in present.items()
            ),
        ],
    }


def zenodo(work: Mapping[str, Any]) -> dict[str, Any]:
    """Zenodo's metadata, from CITATION.cff."""
    return {
        "title": work["title"],
        "upload_type": "software",
        "description": " ".join(work["abstract"].split()),
        "creators": [{"name": author["name"]} for author in work["authors"]],
        "license": work["license"],
        "version": str(work["version"]),
        "publication_date": str(work["date-released"]),
        "keywords": work["keywords"],
        "related_identifiers": [
            {"identifier": reference["url"], "relation": "reviews"}
            for reference in work["references"]
        ],
    }


def pack(
    files: Mapping[str, bytes], folder: str, target: Path, runnable: Collection[str] = ()
) -> None:
    """Write a .tar.gz of the files below ``folder``; the time is no part of it."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mode = len(content), 0o755 if name in runnable else 0o644
            archive.addfile(member, io.BytesIO(content))


def cover(work: Mapping[str, Any]) -> str:
    """The first page of the PDF."""
    authors = ", ".join(author["name"] for author in work["authors"])
    return (
        f"<h1>{escape(work['title'])}</h1><p>{escape(authors)}</p>"
        f"<p>Version {escape(str(work['version']))}, {work['date-released']}</p>"
    )


def main(arguments: list[str] | None = None) -> int:
    """Build the archive and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m flexlib.book.release", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--html", type=Path, default=paths.ROOT / "_build" / "html", help="the built site"
    )
    parser.add_argument(
        "--out", type=Path, default=paths.ROOT / "dist", help="folder of the archive"
    )
    options = parser.parse_args(arguments)
    root, name = paths.ROOT, f"flexlib-{__version__}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            book_pdf = Path(folder, "book.pdf")
            pdf.write(options.html, root / "book" / "_toc.yml", book_pdf, cover(citation(root)))
            files = members(root, options.html, book_pdf)
        options.out.mkdir(parents=True, exist_ok=True)
        runnable = {n for n in files if (root / n).is_file() and (root / n).stat().st_mode & 0o100}
        target = options.out / f"{name}.tar.gz"
        pack(files, name, target, runnable)
    except FlexError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{target} ({target.stat().st_size / 1e6:.0f} MB, {len(files)} files)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
