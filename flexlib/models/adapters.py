"""Adapters on a base model: put on, stored, taken up again. What the kinds are is in flexlib.config.

A stored adapter is a folder in PEFT's format, ``adapter_config.json`` and ``adapter_model.safetensors``.
Fully trained weights have the same two files, with ``peft_type`` FULL.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlib import disk, formats
from flexlib.config import ADAPTERS, Adapter
from flexlib.errors import FlexError
from flexlib.models.files import file_digest, one_line, quiet

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_CONFIG, _WEIGHTS = FILES = "adapter_config.json", "adapter_model.safetensors"


def check(skeleton: PreTrainedModel, settings: Adapter) -> dict[str, tuple[int, ...]]:
    """See that the adapter goes on the model, by putting it on its skeleton (on the meta device).

    Returns:
        Names and shapes of what is trained.

    Raises:
        FlexError: as :func:`add`.
    """
    import torch

    with torch.device("meta"):
        adapted = add(skeleton, settings)
    return {name: tuple(w.shape) for name, w in adapted.named_parameters() if w.requires_grad}


def add(model: PreTrainedModel, settings: Adapter) -> Any:
    """Freeze the model and put a new adapter on it, which is what is trained; with the kind ``full``,
    the model itself is. A new adapter computes what the model did, but for virtual tokens and for
    coefficients that begin at random.

    Raises:
        FlexError: no module of the model has one of the names, or PEFT refuses the settings for it.
    """
    peft = _peft()
    _check_targets(model, settings)
    kind = ADAPTERS[settings.kind]
    if kind.peft is None:
        return model.float().requires_grad_(
            True
        )  # an optimiser of half precision would stand still
    arguments = {"task_type": "CAUSAL_LM", **kind.arguments(settings)}
    try:
        with quiet():
            # PEFT takes another block size than asked for, with a warning: the stored one would lie.
            warnings.filterwarnings("error", message="Invalid `oft_block_size`")
            return peft.get_peft_model(model, _config_class(kind.peft)(**arguments))
    except (ValueError, NotImplementedError, RuntimeError, UserWarning) as error:
        raise FlexError(
            f"an adapter of the kind {settings.kind!r} does not go on this model: {one_line(error)}"
        ) from error


def start_of(model: Any, settings: Adapter) -> dict[str, Tensor] | None:
    """The factors of a new adapter whose kind starts in the base, for :func:`save`; None for others."""
    from peft import get_peft_model_state_dict

    if not ADAPTERS[settings.kind].starts_in_base:
        return None
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: w.detach().clone() for name, w in weights.items()}


def remove(model: Any) -> None:
    """Take the adapter off a model, where PEFT put it into its layers."""
    if hasattr(model, "unload"):
        model.unload()


def save(
    model: Any,
    folder: Path,
    base_model: str,
    *,
    start: Mapping[str, Tensor] | None = None,
    gathered: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the adapter in PEFT's format, whole or not at all, without paths of this machine.

    Args:
        base_model: the name that it is said to belong to.
        start: what :func:`start_of` returned.
        gathered: the model's weights, where each process holds a part of them.
    """
    from safetensors.torch import save_file

    config, weights = _contents(model, base_model, gathered)
    if start is not None:
        config, weights = _relative(config, weights, start)
    with disk.folder_atomically(folder) as temporary:
        (temporary / _CONFIG).write_bytes(formats.to_json(config))
        save_file({k: w.contiguous() for k, w in weights.items()}, temporary / _WEIGHTS)


def replaces_base(folder: Path) -> bool:
    """Whether a stored adapter is a whole set of weights."""
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return config["peft_type"] == "FULL"


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a stored adapter.

    Raises:
        FlexError: the folder holds no adapter, or not in the format that is read here.
    """
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except FileNotFoundError:
        raise FlexError(f"{folder} holds no adapter: it has no {_CONFIG}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise FlexError(f"{folder} holds no adapter: its {_CONFIG} is damaged") from None
    if not (folder / _WEIGHTS).is_file():
        older = (folder / "adapter_model.bin").is_file()
        remedy = "; load it with PEFT and save_pretrained() it again" if older else ""
        raise FlexError(f"{folder} holds no adapter: it has no {_WEIGHTS}{remedy}")
    if not isinstance(kind, str):
        raise FlexError(f"{folder} holds no adapter: its {_CONFIG} is damaged")
    return config


def digest(folder: Path) -> str:
    """What a stored adapter is: sha256 over its two files; raises as :func:`read_config`."""
    read_config(folder)
    return formats.digest_of({name: file_digest(folder / name) for name in FILES})


def copy(folder: Path, target: Path) -> None:
    """Copy the two files of a stored adapter, whole or not at all; one that is there stays."""
    if not target.exists():
        with disk.folder_atomically(target) as temporary:
            for name in FILES:
                shutil.copyfile(folder / name, temporary / name)


def check_stored(skeleton: PreTrainedModel, folder: Path, *, merge: bool = False) -> None:
    """See that a stored adapter loads on the model, by putting one of its configuration on the model's
    skeleton and comparing names and shapes of the weights. PEFT itself leaves out what it does not find.

    Raises:
        FlexError: the configuration is of an unknown kind, or its weights have other names or shapes
            than the model needs; with ``merge``, it cannot be folded into the weights.
    """
    stored = _shapes(folder)
    if replaces_base(folder):
        if merge:
            raise FlexError(f"{folder} holds whole weights, not an adapter that could be merged")
        needed = {name: tuple(w.shape) for name, w in skeleton.named_parameters()}
        extra = needed
    else:
        needed, adapted = _needed(skeleton, folder)
        whole = {f"base_model.model.{n}": tuple(w.shape) for n, w in _plain_parameters(adapted)}
        extra = {name: shape for name, shape in whole.items() if name not in needed}
        if merge and not hasattr(adapted, "merge_and_unload"):
            kind = read_config(folder)["peft_type"]
            raise FlexError(f"an adapter of the kind {kind} cannot be merged; do not ask for it")
    for name, shape in needed.items():
        if name not in stored:
            raise FlexError(f"{folder} does not go on this base: it has no weights {name}")
        if stored[name] != shape:
            raise FlexError(
                f"{folder} does not go on this base: {name} has the shape {_by(stored[name])}, and "
                f"the base needs {_by(shape)}; name the base that it was trained on by --base-model"
            )
    for name, shape in stored.items():
        # PEFT may store embeddings beside the adapter; they take the place of the base's.
        if name not in needed and extra.get(name) != shape:
            raise FlexError(
                f"{folder} does not go on this base: the base has no place for its weights {name}; "
                "name the base that it was trained on by --base-model"
            )


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a stored adapter's weights."""
    from safetensors import safe_open

    try:
        with safe_open(folder / _WEIGHTS, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors has an exception of its own
        raise FlexError(f"{folder / _WEIGHTS} is damaged: {one_line(error)}") from error


def _needed(model: PreTrainedModel, folder: Path) -> tuple[dict[str, tuple[int, ...]], Any]:
    """Names and shapes of the weights that an adapter of a stored configuration has on a model, and the
    model with it."""
    import torch

    peft = _peft()
    try:
        with quiet(), torch.device("meta"):
            config = peft.PeftConfig.from_pretrained(str(folder))
            config.inference_mode = True
            config.base_model_name_or_path = None  # PEFT remarks on another name
            if getattr(config, "init_lora_weights", None) is not None:
                config.init_lora_weights = True  # others, such as PiSSA, compute with the weights
            for size in ("token_dim", "num_layers", "num_attention_heads"):
                if hasattr(config, size):
                    setattr(
                        config, size, None
                    )  # of virtual tokens: this base's, not the stored one's
            adapted = peft.get_peft_model(model, config)
            weights = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    except Exception as error:  # a configuration from elsewhere can fail in any way
        raise FlexError(
            f"the adapter in {folder} does not load on this base: {one_line(error)}"
        ) from error
    return {name: tuple(w.shape) for name, w in weights.items()}, adapted


def _plain_parameters(adapted: Any) -> list[tuple[str, Tensor]]:
    """The base's own parameters in a model with an adapter, by the names that the base has for them."""
    base = adapted.get_base_model()
    return [(name.replace(".base_layer.", "."), w) for name, w in base.named_parameters()]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def load(model: PreTrainedModel, folder: Path, *, merge: bool) -> Any:
    """The model with a stored adapter, as an extra branch or folded into its weights."""
    from safetensors.torch import load_file

    if replaces_base(folder):
        weights = load_file(folder / _WEIGHTS)
        model.load_state_dict(weights, strict=False)  # tied weights are there once
        return model.eval()
    with quiet():
        adapted = _peft().PeftModel.from_pretrained(model, folder).eval()
        return adapted.merge_and_unload() if merge else adapted


def _peft() -> Any:
    """PEFT with the type of adapter that this study adds to it."""
    import peft

    from flexlib.models import basisft  # noqa: F401

    return peft


def _config_class(name: str) -> Any:
    """PEFT's configuration class of a name."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return {cls.__name__: cls for cls in PEFT_TYPE_TO_CONFIG_MAPPING.values()}[name]


def _check_targets(model: PreTrainedModel, settings: Adapter) -> None:
    """Raises: FlexError, if no linear layer of the model has one of the names."""
    from torch.nn import Linear

    modules = model.named_modules()
    linear = {name.rpartition(".")[2] for name, m in modules if isinstance(m, Linear)}
    for target in getattr(settings, "target_modules", ()):
        if target not in linear:
            raise FlexError(
                f"this {model.config.model_type} model has no module {target!r} to adapt; "
                f"adapter.target_modules can be {', '.join(sorted(linear))}"
            )


def _contents(
    model: Any, base_model: str, gathered: Mapping[str, Tensor] | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the two files of a stored adapter hold."""
    from peft import PeftModel, get_peft_model_state_dict

    if not isinstance(model, PeftModel):
        weights = {name: w.detach() for name, w in model.named_parameters()}
        if gathered:
            weights = {name: gathered[name] for name in weights}
        return {"peft_type": "FULL", "base_model_name_or_path": base_model}, weights
    peft_config = model.peft_config["default"]
    peft_config.base_model_name_or_path = base_model
    peft_config.inference_mode = True
    config = {k: v for k, v in peft_config.to_dict().items() if not callable(v)}
    weights = get_peft_model_state_dict(model, gathered, save_embedding_layers=False)
    return _sorted_sets(config), weights


def _sorted_sets(data: Any) -> Any:
    """PEFT keeps the names of modules as sets, whose order differs from process to process."""
    if isinstance(data, dict):
        return {key: _sorted_sets(value) for key, value in data.items()}
    return sorted(data) if isinstance(data, set) else data


def _relative(
    config: dict[str, Any], weights: Mapping[str, Tensor], start: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An adapter whose factors began as a part of the base, as a LoRA on the whole base:
    ``B A - B0 A0 = [B, -B0] [A; A0]``."""
    import torch

    config = {**config, "r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}
    config["init_lora_weights"] = True
    joined = {}
    for name, w in weights.items():
        before = start[name].to(w)
        if ".lora_A." in name:
            joined[name] = torch.cat([w, before], dim=0)
        else:
            joined[name] = torch.cat([w, -before], dim=1)
    return config, joined
