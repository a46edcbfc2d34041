"""Merged against unmerged at the true 7B shape: the largest difference of a logit, by precision.

Weights and adapter are random, the adapter of a trained one's size. Written to ``merged.csv``:

    python measurements/gpu/merged.py --out data/measurements/gpu
"""

from __future__ import annotations

import time

import torch
from common import arguments, random_model, write

from flexlib import config
from flexlib.analysis import merging
from flexlib.models import adapters
from flexlib.study import scale

PROMPTS, LENGTH = 16, 256
# Root mean square of an entry of B after some hundred steps of AdamW at 2e-4, whose steps are about
# as large as the learning rate.
B_SCALE = 5e-3


def main() -> None:
    args = arguments(__doc__)
    rows = []
    for precision, dtype in (
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
        ("fp32", torch.float32),
    ):
        if time.monotonic() > args.deadline:
            break
        model = random_model(args.tiny, dtype)
        length = 32 if args.tiny else LENGTH
        generator = torch.Generator().manual_seed(0)
        prompts = torch.randint(
            3, model.config.vocab_size, (PROMPTS, length), generator=generator
        ).tolist()
        torch.manual_seed(1)
        adapted = adapters.add(model, config.load("paper", "lora", 1).adapter).eval()
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, B_SCALE)
        difference = merging.compare(adapted, prompts)
        rows.append({"model": "random 7B", "precision": precision, **difference})
        write(args.out / "merged.csv", scale.MERGED_FIELDS, rows)
        del model, adapted
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
