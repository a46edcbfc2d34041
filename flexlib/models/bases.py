"""Base models: where they lie, which they are, and loading them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlib import disk, paths
from flexlib.config import Precision
from flexlib.errors import FlexError
from flexlib.models import adapters, gguf
from flexlib.models.files import (
    IDENTITY,
    files_digest,
    one_line,
    quiet,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

_HUB_FILES = [*IDENTITY, "*.json"]
_HUB_WEIGHTS = ["*.safetensors", "*.bin"]


def locate(
    base_model: str,
    *,
    revision: str | None = None,
    file: str | None = None,
    sha256: str | None = None,
    folder: Path | None = None,
    before_weights: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """The folder of a base model.

    Args:
        base_model: a folder, absolute or below the repository or the current one, or a hub id.
        revision: of the hub id; the newest without it.
        file: a GGUF file of the hub's repository, which is dequantised into a folder.
        sha256: of that file, also of a local copy that is given as ``folder``.
        folder: a local copy, folder or GGUF file, that takes precedence (``--base-model``).
        before_weights: called with the folder when it has its configuration, before weights are
            downloaded; raises to prevent that.

    Raises:
        FlexError: there is no such folder, it holds no model, or the hub is out of reach; as
            :func:`flexlib.models.gguf.dequantised`.
    """
    candidates = [folder] if folder else [Path(base_model), paths.ROOT / base_model]
    for candidate in candidates:
        if candidate.suffix == ".gguf":
            candidate = gguf.dequantised(candidate, sha256)
        if candidate.is_dir():
            _check_folder(candidate)
            before_weights(candidate)
            return candidate
    if folder or base_model.count("/") != 1 or base_model.startswith((".", "/", "~")):
        raise FlexError(f"no model folder {folder or base_model}; name one by --base-model")
    if file:
        found = gguf.dequantised(_file_from_hub(base_model, revision, file), sha256)
        before_weights(found)
        return found
    return _from_hub(base_model, revision, before_weights)


def locate_adapter(name: str | Path) -> Path:
    """The folder of a stored adapter: a folder, or a hub id, of which its two files are fetched.

    Raises:
        FlexError: there is no such folder, it holds no adapter in PEFT's format, or the hub is out of
            reach.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
            raise FlexError(
                f"no adapter folder {name}; name a folder in PEFT's format, or a hub id"
            )
        folder = _adapter_from_hub(str(name))
    adapters.read_config(folder)
    return folder


def digest(folder: Path) -> str:
    """What a model folder is: sha256 over the names and contents of the files that make the model, or, of
    one that was dequantised from a GGUF file, over that file's digest and the precision."""
    made = gguf.origin(folder)
    return gguf.identity(made) if made else files_digest(folder)


def skeleton(folder: Path) -> PreTrainedModel:
    """The model of a folder without its weights (on the meta device), from its configuration alone.

    Raises:
        FlexError: the configuration is not that of a causal language model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except Exception as error:  # transformers raises many kinds for a damaged folder
        raise FlexError(f"{folder} holds no causal model that loads: {one_line(error)}") from error


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model folder, with a padding token.

    Raises:
        FlexError: there is none, or it has no end-of-text token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # transformers raises many kinds for a damaged folder
        raise FlexError(f"{folder} holds no tokenizer that loads: {one_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise FlexError(f"the tokenizer in {folder} names no eos_token; add it to its config")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any token serves
    return tokenizer


def load_model(
    folder: Path,
    precision: Precision,
    device: torch.device | str,
    attention: str | None = None,
    *,
    arithmetic: Precision | None = None,
) -> PreTrainedModel:
    """A causal language model in evaluation mode.

    Args:
        precision: that the weights are rounded to.
        attention: transformers' name of the kernel (``sdpa``, ``flash_attention_2``); None: its choice.
        arithmetic: the precision to compute in, see :func:`flexlib.models.speed.arithmetic`; None: that of
            the weights.

    Raises:
        FlexError: the folder holds no causal language model that loads.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    try:
        with quiet():
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtypes[precision], attn_implementation=attention
            )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers raises many kinds for a damaged folder
        raise FlexError(f"{folder} holds no causal model that loads: {one_line(error)}") from error
    if arithmetic not in (None, precision):  # elsewhere the buffers keep types of their own
        model = model.to(dtypes[arithmetic])
    return model.to(device).eval()


class BaseModels:
    """One base model, kept in memory from stage to stage and run to run.

    What is taken out is the taker's, to adapt as it likes; only what is given back is lent again, so that
    a base that was changed for good (by merging, or by an exception half-way) is never used twice.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple, PreTrainedModel] | None = None
        self._lent: tuple | None = None

    @contextlib.contextmanager
    def lend(
        self,
        folder: Path,
        precision: Precision,
        device: str,
        attention: str | None = None,
        adapter: Path | None = None,
        *,
        merge: bool = False,
        spoils: bool = False,
        arithmetic: Precision | None = None,
    ) -> Iterator[Any]:
        """The base model of a folder for one block, with an adapter if one is named.

        Args:
            precision, device, attention, arithmetic: as for :func:`load_model`.
            spoils: whether the block leaves another model than it got.

        Raises:
            FlexError: as :func:`load_model`.
        """
        model = self.take(folder, precision, device, attention, arithmetic=arithmetic)
        if adapter:
            model = adapters.load(model, adapter, merge=merge)
        yield model
        if not spoils and not (adapter and (merge or adapters.replaces_base(adapter))):
            self.give_back(model)

    def take(
        self,
        folder: Path,
        precision: Precision,
        device: str,
        attention: str | None = None,
        *,
        arithmetic: Precision | None = None,
    ) -> PreTrainedModel:
        """The base model of a folder as it was saved; raises as :func:`load_model`."""
        wanted = (folder.resolve(), precision, device, attention, arithmetic or precision)
        kept, self._kept, self._lent = self._kept, None, wanted
        if kept and kept[0] == wanted:
            return kept[1]
        del kept  # before its successor is loaded: both may not fit
        return load_model(folder, precision, device, attention, arithmetic=arithmetic)

    def give_back(self, model: Any) -> None:
        """Keep the model that was taken last, without the adapter that it may have got."""
        base = model
        if hasattr(model, "unload"):
            base = model.unload()
        elif hasattr(model, "get_base_model"):  # virtual tokens, which have changed no module
            base = model.get_base_model()
        base.config.use_cache = True
        assert self._lent is not None  # what was not taken cannot be given back
        self._kept, self._lent = (self._lent, base.eval()), None


def attends_to_all(config: PreTrainedConfig) -> bool:
    """Whether a model's configuration names no layer that slides or is recurrent. One that has the same
    window in every layer names none."""
    return set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}


def pick_device(device: str | None = None) -> str:
    """``cpu`` or ``cuda``, which is the first GPU in sight (see CUDA_VISIBLE_DEVICES); by default the
    GPU where there is one.

    Raises:
        FlexError: another device, or no GPU.
    """
    import torch

    if device not in (None, "cpu", "cuda"):
        raise FlexError(
            f"unknown device {device!r}; take cpu or cuda, and choose among GPUs by "
            "CUDA_VISIBLE_DEVICES"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise FlexError("no CUDA GPU is visible to torch; leave --device out or say --device cpu")
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise FlexError(f"{folder} is no model folder: it has no config.json")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise FlexError(f"{folder} is no model folder: it has no *.safetensors")


def _from_hub(
    base_model: str, revision: str | None, before_weights: Callable[[Path], None]
) -> Path:
    from huggingface_hub import snapshot_download

    download = functools.partial(snapshot_download, base_model, revision=revision)
    with _hub_errors("model", base_model):
        without_weights = Path(download(allow_patterns=_HUB_FILES, ignore_patterns=_HUB_WEIGHTS))
    before_weights(without_weights)
    with _hub_errors("model", base_model):
        folder = Path(download(allow_patterns=_HUB_FILES))
    _check_folder(folder)
    return folder


def _file_from_hub(base_model: str, revision: str | None, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    with _hub_errors("model", base_model):
        return Path(hf_hub_download(base_model, file, revision=revision))


def _adapter_from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    with _hub_errors("adapter", name):
        return Path(snapshot_download(name, allow_patterns=list(adapters.FILES)))


@contextlib.contextmanager
def _hub_errors(kind: str, name: str) -> Iterator[None]:
    """Turn what a download can raise into a FlexError that names the way out."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    way_out = "or name a local copy" + (" by --base-model" if kind == "model" else "")
    try:
        with disk.full_disk_is_an_error(Path(HF_HUB_CACHE)):
            yield
    except FlexError:
        raise
    except RevisionNotFoundError:
        raise FlexError(f"the hub has no such revision of {name}; check base_revision") from None
    except RemoteEntryNotFoundError:
        raise FlexError(f"{name} on the hub has no such file; check base_file") from None
    except GatedRepoError:
        raise FlexError(
            f"{name} is gated: accept its licence on the hub and log in, {way_out}"
        ) from None
    except RepositoryNotFoundError:
        raise FlexError(f"the hub has no public {kind} {name}; check the id, {way_out}") from None
    except Exception as error:  # the hub's HTTP client has exceptions of its own
        raise FlexError(
            f"cannot fetch {name} from the hub ({type(error).__name__}): connect, {way_out}"
        ) from error
