"""Base models that come as a GGUF file: dequantised once, into an ordinary model folder in the user's
cache.

transformers reads the file, but keeps the weights packed and computes with them in float32, which
nothing here can train or save. The folder that is made holds the same numbers rounded to bf16, and what
it is made of: its identity is the digest of the GGUF file and the precision, which are the same on
every machine, while the bytes of the folder change with the versions of transformers and tokenizers.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from flexlib import disk, paths
from flexlib.errors import FlexError
from flexlib.formats import digest_of, to_json
from flexlib.models import files

PRECISION = "bf16"
_ORIGIN = "gguf.json"  # in the folder: what it was made of, and the digest of what was made

# Tokens that end an answer, as far as a vocabulary has them as control tokens. A GGUF file names one;
# llama.cpp goes by such a list, too.
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "</s>")
_CONTROL = 3  # the token type


def dequantised(file: Path, sha256: str | None = None, cache: Path | None = None) -> Path:
    """The bf16 model folder of a GGUF file; made in ``cache`` if it is not there yet.

    Args:
        file: of an architecture that transformers reads, with its tokenizer.
        sha256: what the file must have.
        cache: where such folders lie, in ``gguf`` (default: flexlib's folder in the user's cache).

    Raises:
        FlexError: no such file, or another than the pinned one; damaged, of an unknown architecture or
            without a tokenizer; the package gguf is missing; no space, or a cache that cannot be written.
            Nothing half-written remains.
    """
    if not file.is_file():
        raise FlexError(f"there is no file {file}; name the GGUF file by --base-model")
    found = files.file_digest(file)
    if sha256 and found != sha256:
        raise FlexError(
            f"{file} is damaged or another file (sha256 {found[:12]} instead of {sha256[:12]}): fetch "
            "it again, or name another model by --set base_model=NAME"
        )
    folder = folder_of(found, cache or paths.cache_folder())
    if origin(folder):
        return folder
    lock = folder.with_name(f"{folder.name}.lock")
    with (
        disk.unwritable_cache_is_an_error(folder.parent),
        disk.full_disk_is_an_error(folder.parent),
        disk.lock(lock),
    ):
        if not origin(folder):
            _make(file, found, folder)
    return folder


def folder_of(sha256: str, cache: Path) -> Path:
    """Where the dequantised copy of the file with this digest is, or would be."""
    return cache / "gguf" / f"{sha256[:16]}-{PRECISION}"


def origin(folder: Path) -> dict[str, str] | None:
    """What a model folder was made of, ``sha256`` of the GGUF file and ``precision``; None if it was not
    made here, or has changed since."""
    try:
        made = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
        unchanged = made.pop("files") == files.files_digest(folder)
    except (OSError, ValueError, KeyError):
        return None
    return made if unchanged else None


def identity(made: dict[str, str]) -> str:
    """The digest that stands for a folder that was made from a GGUF file."""
    return digest_of({"gguf": made["sha256"], "precision": made["precision"]})


def _make(file: Path, sha256: str, folder: Path) -> None:
    """Dequantise ``file`` into ``folder``, which appears by one rename."""
    header = _header(file)
    needed = 2 * header["numbers"] + 2**25  # bf16, and the tokenizer
    free = disk.free_bytes(folder.parent)
    if free < needed:
        raise FlexError(
            f"the dequantised copy of {file.name} takes {needed / 1e9:.1f} GB and {folder.parent} has "
            f"{free / 1e9:.1f} GB: free some, or set XDG_CACHE_HOME to a larger disk"
        )
    print(f"dequantising {file.name}, once: about a minute", file=sys.stderr, flush=True)
    with disk.folder_atomically(folder) as temporary:
        _convert(file, header["ends"], temporary)
        made = {
            "sha256": sha256,
            "precision": PRECISION,
            "files": files.files_digest(temporary),
        }
        (temporary / _ORIGIN).write_bytes(to_json(made))
        shutil.rmtree(folder, ignore_errors=True)  # one that was altered


def _header(file: Path) -> dict[str, Any]:
    """What the file says of itself: ``numbers``, how many weights; ``ends``, ids of the tokens that end a
    text, the one that it names first."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise FlexError("reading GGUF takes the package gguf: pip install gguf") from None
    try:
        reader = GGUFReader(file)
        fields = reader.fields
        numbers = sum(int(tensor.n_elements) for tensor in reader.tensors)
        names = fields.get("tokenizer.ggml.tokens")
        tokens = names.contents() if names else []
        types = fields["tokenizer.ggml.token_type"].contents() if names else []
        named = fields.get("tokenizer.ggml.eos_token_id")
        ends = [int(named.contents())] if named else []
    except Exception as error:  # a damaged file fails in many ways
        raise FlexError(f"{file} is no whole GGUF file: fetch it again") from error
    if not tokens or not ends:
        raise FlexError(f"{file} has no tokenizer with an end-of-text token: take a file that has")
    known = [i for i, token in enumerate(tokens) if token in _ENDS and types[i] == _CONTROL]
    return {"numbers": numbers, "ends": [*ends, *(i for i in known if i not in ends)]}


def _convert(file: Path, ends: list[int], folder: Path) -> None:
    """Write weights, configuration and tokenizer of a GGUF file in transformers' format."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with files.quiet(), contextlib.redirect_stderr(io.StringIO()):  # a bar
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            model = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.bfloat16
            )
    except Exception as error:  # transformers raises many kinds
        raise FlexError(f"transformers cannot read {file}: {files.one_line(error)}") from error
    weights: dict[int, tuple[str, torch.Tensor]] = {}
    # Of a tied pair the first is written, from which both are loaded.
    for name, weight in model.state_dict().items():
        weights.setdefault(weight.data_ptr(), (name, weight.to(torch.bfloat16).contiguous()))
    config = model.config
    config.architectures = [type(model).__name__]
    config.name_or_path = ""
    del config.quantization_config
    model.generation_config.eos_token_id = ends
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_file(dict(weights.values()), folder / "model.safetensors", metadata={"format": "pt"})
