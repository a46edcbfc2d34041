"""A random Llama of 40 k parameters with a tokenizer of its own: the pipeline in a second or two."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

WORDS = [
    "def add_one(n: int) -> int:\n    return n + 1\n",
    'def double(xs: list) -> list:\n    """Double all numbers of xs.\n    """\n',
    "import java.util.*;\nclass Problem {\n    public static long addOne(long n) {\n",
    "Write a function to find the sum.\n\n# assert total([1, 2]) == 3\n\n",
]


def llama(**settings):
    """A random Llama, the same weights each time; ``settings`` change its configuration."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,  # wide, so that its greedy texts differ and sometimes end
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**small | settings))


def make_base(folder: Path) -> Path:
    """Save the model and its tokenizer into a folder, the same bytes each time."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    model = llama(vocab_size=320, pad_token_id=0)
    model.save_pretrained(folder)
    return folder


def make_code_llama(folder: Path) -> Path:
    """A Code Llama in small: its architecture with its constants (rotary base, epsilon), and a tokenizer
    of its kind, SentencePiece-style BPE with byte fallback in which a space is U+2581, a text begins
    with BOS, and there is no padding token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
            show_progress=False,
        ),
    )
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][: len(special)]  # bytes are text, not special
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    model = llama(
        vocab_size=tokenizer.get_vocab_size(),
        intermediate_size=86,
        max_position_embeddings=16384,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rms_norm_eps=1e-5,
    )
    model.to(torch.float16).save_pretrained(folder)  # as Code Llama's are saved
    return folder


def records(count: int) -> list[dict]:
    """MBPP-shaped records."""
    return [
        {
            "task_id": i,
            "text": f"Write a function to add {i} to n.",
            "code": f"def add_{i}(n: int) -> int:\n    return n + {i}\n",
            "test_list": [f"assert add_{i}(1) == {1 + i}", f"assert add_{i}(2) == {2 + i}"],
        }
        for i in range(count)
    ]


def child(target, *args) -> BaseProcess:
    """Start ``target`` in a process to be killed. torch is imported once, in the fork server: ten
    seconds less for every child."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flexlib.train", "flexlib.generate", "flexlib.run"])
    process = context.Process(target=target, args=args)
    process.start()
    return process


def killed(target, *args, folder: Path, after: int, sent: int = signal.SIGKILL) -> int:
    """The exit code of a child that signals itself when it has touched ``folder`` so many times: opened,
    renamed, listed or removed something in it. So the moment is anywhere, and the same every time."""
    process = child(_touch_and_die, str(folder), after, sent, target, args)
    process.join()
    return process.exitcode


def _touch_and_die(folder: str, after: int, sent: int, target, args: tuple) -> None:
    touched = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal touched
        if event.startswith(("open", "os.", "shutil.")) and any(
            isinstance(a, (str, os.PathLike)) and os.fspath(a).startswith(folder) for a in arguments
        ):
            touched += 1
            if touched == after:
                os.kill(os.getpid(), sent)

    sys.addaudithook(count)
    target(*args)
