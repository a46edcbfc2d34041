"""Pretraining of the nano base: a Llama of 2.4 M parameters on the four-language corpus.

Hidden matrices are trained by Muon, the rest by AdamW: on this corpus Muon reaches a loss in half
the tokens that AdamW needs, which is what makes a base affordable on a CPU.

`flexlib pretrain` makes the tokenizer, the corpus and the model in a work folder, resumes
where it was stopped, and exports weights (fp16), tokenizer, training log and model card to
data/nano/base.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import transformers
from pytorch_optimizer import Muon
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from flexlib import disk, formats, paths
from flexlib.errors import FlexError
from flexlib.nanobench import corpus
from flexlib.nanobench.tokenizer import train_tokenizer
from flexlib.progress import bar as progress_bar
from flexlib.training import encoding
from flexlib.training.trainer import MarkComplete, ProgressLine, last_complete_checkpoint

_TOKENIZER_DOCUMENTS = 20_000
_POOL = 20  # batches among which documents are sorted by length


@dataclass(frozen=True)
class PretrainConfig:
    """What determines the nano base (but for rounding: the number of threads does so too)."""

    seed: int = 1
    documents: int = 120_000
    batch: int = 48  # documents in a step
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    weight_decay: float = 0.1
    hidden: int = 192
    layers: int = 5
    heads: int = 4
    intermediate: int = 512


class Documents(torch.utils.data.Dataset):
    """The documents of a flat token file, one a training sequence: ids and labels, lists of int.

    Documents are not packed: with several in one sequence the model has to learn which of them a
    parameter belongs to before it can learn to use parameters at all.
    """

    def __init__(self, path: Path, eos: int):
        self.tokens = np.memmap(path, dtype=np.uint16, mode="r")
        self.ends = np.flatnonzero(self.tokens == eos) + 1

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        start = self.ends[index - 1] if index else 0
        ids = self.tokens[start : self.ends[index]].tolist()
        return {"input_ids": ids, "labels": ids}


def pad_right(pad: int) -> Callable[[Sequence[encoding.Example]], dict[str, torch.Tensor]]:
    """A collator without a mask: what stands to the right of a token is hidden from it anyway."""
    collate = encoding.collator(pad)

    def collate_unmasked(examples: Sequence[encoding.Example]) -> dict[str, torch.Tensor]:
        return {k: v for k, v in collate(examples).items() if k != "attention_mask"}

    return collate_unmasked


def pretrain(
    work: Path,
    out: Path = paths.NANO_BASE,
    config: PretrainConfig | None = None,
    *,
    save_steps: int = 200,
    compiled: bool = False,
) -> None:
    """Pretrain, or go on pretraining, in the folder `work`, and export to `out`.

    Args:
        save_steps: steps between checkpoints.
        compiled: by `torch.compile`, nearly twice as fast, but it needs a C++ compiler and a minute
            to start.

    Raises:
        FlexError: `work` was begun with another configuration, or the disk is full.
    """
    config = config or PretrainConfig()
    work.mkdir(parents=True, exist_ok=True)
    with disk.full_disk_is_an_error(work):
        _claim(work, config)
        sample = itertools.islice(corpus.documents(config.seed), _TOKENIZER_DOCUMENTS)
        tokenizer = train_tokenizer(sample)
        facts = _write_corpus(work / "corpus.bin", tokenizer, config)
        documents = Documents(work / "corpus.bin", tokenizer.eos_token_id)
        torch.manual_seed(config.seed)
        trainer: Any = _trainer(work, documents, tokenizer, config, save_steps, compiled)
        started = time.time()
        trainer.train(resume_from_checkpoint=last_complete_checkpoint(work / "checkpoints"))
        facts |= {
            "parameters": trainer.model.num_parameters(),
            "threads": torch.get_num_threads(),
            "seconds_last_process": round(time.time() - started),
        }
        curve = [
            {"step": row["step"], "loss": round(row["loss"], 4)}
            for row in trainer.state.log_history
            if "loss" in row
        ]
        export(trainer.model, tokenizer, out, asdict(config) | facts | {"curve": curve})


def _claim(work: Path, config: PretrainConfig) -> None:
    """A work folder belongs to one configuration."""
    mine, text = work / "config.json", formats.to_json(asdict(config))
    if not mine.exists():
        disk.write_atomically(mine, text)
    elif mine.read_bytes() != text:
        raise FlexError(
            f"{work} was begun with another configuration; choose another --work folder"
        )


def _write_corpus(path: Path, tokenizer: Any, config: PretrainConfig) -> dict[str, int]:
    """Write the documents' tokens (uint16) to `path`, once; returns their number.

    Documents of like length stand together, so that a batch has little padding; the batches of a
    pool are shuffled, so that training does not swing between long and short documents.
    """
    meta = path.with_suffix(".json")
    if meta.exists():
        return json.loads(meta.read_text())
    stream = itertools.islice(corpus.documents(config.seed), config.documents)
    rng = Random(config.seed)
    total = 0
    with (
        path.open("wb") as file,
        progress_bar("corpus", "document", config.documents) as bar,
    ):
        while texts := list(itertools.islice(stream, _POOL * config.batch)):
            ids = sorted(tokenizer(texts)["input_ids"], key=len)
            batches = [ids[i : i + config.batch] for i in range(0, len(ids), config.batch)]
            rng.shuffle(batches)
            eos = tokenizer.eos_token_id
            flat = [token for batch in batches for doc in batch for token in (*doc, eos)]
            file.write(np.array(flat, np.uint16).tobytes())
            total += len(flat)
            bar.update(len(texts))
    facts = {"tokens": total}
    disk.write_atomically(meta, formats.to_json(facts))
    return facts


def new_model(tokenizer: Any, config: PretrainConfig) -> LlamaForCausalLM:
    """A Llama with random weights, its embeddings tied."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=config.intermediate,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _trainer(
    work: Path,
    documents: Documents,
    tokenizer: Any,
    config: PretrainConfig,
    save_steps: int,
    compiled: bool,
) -> Trainer:
    model = new_model(tokenizer, config)
    model.set_attn_implementation("eager")  # on a CPU, faster here than the fused kernel
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(work / "checkpoints"),
            per_device_train_batch_size=config.batch,
            num_train_epochs=1,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.02},
            max_grad_norm=1.0,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            torch_compile=compiled,
            save_steps=save_steps,
            save_total_limit=2,
            logging_steps=10,
            report_to="none",
            disable_tqdm=True,
            seed=config.seed,
            train_sampling_strategy="sequential",  # the corpus is a random stream already
            remove_unused_columns=False,
        ),
        train_dataset=documents,
        data_collator=pad_right(tokenizer.pad_token_id),
        processing_class=tokenizer,  # so that a checkpoint can be evaluated as a model folder
        callbacks=[MarkComplete(), ProgressLine("pretrain")],
        optimizers=(_optimizer(model, config), None),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _optimizer(model: LlamaForCausalLM, config: PretrainConfig) -> torch.optim.Optimizer:
    """Muon for the hidden matrices, its update scaled to AdamW's (Liu et al. 2025, "Muon is scalable
    for LLM training"), so that one learning rate serves both; AdamW for embeddings and norms."""
    hidden: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (hidden if weight.ndim == 2 and "embed" not in name else rest).append(weight)
    muon = {"use_muon": True, "use_adjusted_lr": True, "weight_decay": config.weight_decay}
    adamw = {"use_muon": False, "betas": (0.9, 0.95), "weight_decay": 0.0}
    lr = config.learning_rate
    return Muon([{"params": hidden, "lr": lr, **muon}, {"params": rest, "lr": lr, **adamw}])


def export(model: LlamaForCausalLM, tokenizer: Any, out: Path, facts: dict[str, Any]) -> None:
    """Save weights in fp16, config and tokenizer as `from_pretrained` reads them, log and card."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "pretraining.json").write_text(json.dumps(facts, indent=1) + "\n")
    (out / "README.md").write_text(model_card(facts))


def model_card(facts: dict[str, Any]) -> str:
    """The card of a base, every figure from the facts of its making."""
    final = [point["loss"] for point in facts["curve"][-5:]]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in corpus.LANGUAGE_SHARES.items())
    changed = "".join(
        f" --{name} {facts[name]}"
        for name in ("documents", "seed")
        if facts[name] != getattr(PretrainConfig, name)
    )
    return f"""# The nano base

A Llama of {facts["parameters"] / 1e6:.1f} M parameters ({facts["layers"]} layers, width {facts["hidden"]}, {facts["heads"]} heads), for the FLeX
audit's nano profile: a model organism for fine-tuning studies, of no use for real programming.

- **Data:** {facts["tokens"]:,} tokens, {facts["documents"]:,} synthetic documents from `flexlib.nanobench.corpus`
  ({shares}); {corpus.DOCUMENTED:.0%} of the functions
  have a description, in which ambiguous words have a sense that is not NanoBench's {corpus.USUAL_SENSE:.0%} of the
  time. No text by people.
- **Training:** next token, {facts["batch"]} documents a step, Muon and AdamW at {facts["learning_rate"]} with cosine decay,
  bf16 autocast; final loss {sum(final) / len(final):.3f} nats a token; the curve is in `pretraining.json`.
- **Made by:** `flexlib pretrain{changed}` (seed {facts["seed"]}, last process: {facts["threads"]} threads,
  {facts["seconds_last_process"]} seconds; it resumes when interrupted).
- **Weights:** fp16, tied embeddings. Licence: as the repository.
"""
