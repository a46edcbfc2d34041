"""Pretraining of the nano base: a Llama of 2.4 M parameters on the four-language corpus.

`flexlib pretrain` makes the tokenizer, the packed corpus and the model in a work folder, resumes
where it was stopped, and exports weights (fp16), tokenizer and training log to data/nano/base.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from flexlib.nanobench.corpus import documents
from flexlib.nanobench.tokenizer import train_tokenizer

BASE = Path(__file__).parents[2] / "data" / "nano" / "base"


@dataclass(frozen=True)
class PretrainConfig:
    """What determines the nano base, byte for byte on one machine."""

    seed: int = 1
    tokens: int = 14_000_000
    block: int = 256  # tokens in a training sequence
    batch: int = 16  # sequences in a step
    learning_rate: float = 3e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    hidden: int = 192
    layers: int = 5
    heads: int = 4
    intermediate: int = 512


class PackedTokens(torch.utils.data.Dataset):
    """Blocks of a flat token file, in the order of the file: item (block,) int64."""

    def __init__(self, path: Path, block: int):
        self.tokens = np.memmap(path, dtype=np.uint16, mode="r")
        self.block = block

    def __len__(self) -> int:
        return len(self.tokens) // self.block

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        piece = self.tokens[index * self.block : (index + 1) * self.block].astype(np.int64)
        ids = torch.from_numpy(piece)
        return {"input_ids": ids, "labels": ids}


class _InOrder(Trainer):
    """The corpus is a random stream already: read it in order."""

    def _get_train_sampler(self, *args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def write_corpus(path: Path, tokenizer, config: PretrainConfig) -> int:
    """Write `config.tokens` packed tokens (uint16) to `path`; return the number of documents."""
    written = count = 0
    partial = path.with_suffix(".partial")
    stream = documents(config.seed)
    bar = tqdm(total=config.tokens, desc="corpus", unit="token", unit_scale=True)
    with partial.open("wb") as file:
        while written < config.tokens:
            texts = list(itertools.islice(stream, 2000))
            ids = tokenizer(texts)["input_ids"]
            flat = np.array([t for doc in ids for t in (*doc, tokenizer.eos_token_id)], np.uint16)
            flat = flat[: config.tokens - written]
            file.write(flat.tobytes())
            written += len(flat)
            count += len(texts)
            bar.update(len(flat))
    bar.close()
    partial.rename(path)
    return count


def pretrain(
    work: Path, out: Path = BASE, config: PretrainConfig | None = None, max_steps: int = -1
) -> None:
    """Pretrain, or go on pretraining, in the folder `work`, and export to `out`.

    A work folder belongs to one configuration; its checkpoints are continued.
    """
    config = config or PretrainConfig()
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(itertools.islice(documents(config.seed), 20_000))
    corpus = work / "corpus.bin"
    meta = work / "corpus.json"
    if not (corpus.exists() and meta.exists()):
        meta.write_text(json.dumps({"documents": write_corpus(corpus, tokenizer, config)}))
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(
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
    data = PackedTokens(corpus, config.block)
    trainer = _InOrder(
        model,
        TrainingArguments(
            output_dir=str(work / "checkpoints"),
            per_device_train_batch_size=config.batch,
            num_train_epochs=1,
            max_steps=max_steps,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.02},
            optim="adamw_torch_fused",
            weight_decay=config.weight_decay,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            save_steps=200,
            save_total_limit=2,
            logging_steps=50,
            report_to=[],
            seed=config.seed,
            dataloader_drop_last=True,
        ),
        train_dataset=data,
    )
    started = time.time()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(work / "checkpoints")))
    export(trainer.model, tokenizer, out)
    _write_log(out, trainer.state.log_history, config, json.loads(meta.read_text()), started)


def export(model: LlamaForCausalLM, tokenizer, out: Path) -> None:
    """Save weights in fp16 with config and tokenizer, as `from_pretrained` reads them."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)


def _write_log(out: Path, history: list[dict], config: PretrainConfig, meta: dict, started) -> None:
    curve = [{"step": row["step"], "loss": row["loss"]} for row in history if "loss" in row]
    record = asdict(config) | meta | {"seconds_last_session": round(time.time() - started)}
    (out / "pretraining.json").write_text(json.dumps(record | {"curve": curve}, indent=1) + "\n")
