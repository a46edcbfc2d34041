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


def make_gpt2(folder: Path, base: Path) -> Path:
    """A random GPT-2, whose linear modules store their weights transposed, with the tokenizer of a base."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=1,
                eos_token_id=2, pad_token_id=0, initializer_range=0.2,
            )
        )  # fmt: skip
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
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
    context.set_forkserver_preload(
        ["flexlib.training.trainer", "flexlib.generation.decoding", "flexlib.runs.pipeline"]
    )
    process = context.Process(target=target, args=args)
    process.start()
    return process


def qwen(*, tied: bool = False):
    """A random Qwen2, with biases of q, k and v; head and embedding are apart, or ``tied``."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=320,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                tie_word_embeddings=tied,
                initializer_range=0.2,
            )
        )
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
    return model


def make_gguf(
    path: Path, *, architecture: str = "qwen2", tokens: bool = True, tied: bool = False
) -> Path:
    """The random Qwen2 as a GGUF file in float32, with a tokenizer of 320 tokens; without a head if its
    own is the embedding."""
    from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    model = qwen(tied=tied)
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    if tokens:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        special = ["<|endoftext|>", "<|im_end|>"]
        tokenizer.train_from_iterator(
            WORDS,
            trainers.BpeTrainer(
                vocab_size=320,
                special_tokens=special,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
        state = json.loads(tokenizer.to_str())["model"]
        words = sorted(state["vocab"], key=state["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(words)
        writer.add_token_types([3 if w in special else 1 for w in words])  # control, normal
        writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
        writer.add_eos_token_id(1)
        writer.add_pad_token_id(0)
        writer.add_bos_token_id(0)
        writer.add_add_bos_token(False)
    names = get_tensor_name_map(MODEL_ARCH.QWEN2, 2)
    for name, weight in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


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
