"""What is said to fit, fits: the estimates against what autograd and the cache really hold."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedConfig,
    Qwen2Config,
)

from flexlib import config, models
from flexlib.errors import FlexError
from flexlib.generation.cache import growing_cache
from flexlib.models import adapters, memory
from flexlib.study import scale
from flexlib.training.loss import chunk_loss

GB = memory.GB
PAPER = config.load("paper", "lora", 1)


@pytest.fixture(scope="module")
def code_llama() -> memory.Shape:
    """Code Llama 7B, from the sizes in its configuration."""
    return scale.code_llama()


def test_sizes_of_code_llama(code_llama):
    assert code_llama.parameters == 6_738_546_688  # of "7B"
    assert code_llama.key_value * code_llama.layers * 2 == 512 * 1024  # bytes a token in bf16
    assert code_llama.linear["down_proj"] == (11008, 4096)
    assert len(code_llama.linear) == 7
    assert memory.trained_parameters(code_llama, PAPER.adapter) == 32 * 2 * 8 * (4096 + 4096)


@pytest.mark.parametrize(("inner", "feedforward"), [(96, 96), (None, 4 * 32)])
def test_the_feed_forward_of_gpt_2_has_a_name_of_its_own(inner, feedforward):
    settings = GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_inner=inner)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings)
    assert memory.shape_of(model).feedforward == feedforward
    assert model.transformer.h[0].mlp.c_fc.weight.shape == (32, feedforward)


LLAMA = LlamaConfig(
    vocab_size=64, hidden_size=128, intermediate_size=344, num_attention_heads=4
)  # fmt: skip
QWEN = Qwen2Config(  # its proportions: 2 of 14 heads are keys', a feed-forward 5.4 times as wide
    vocab_size=64, hidden_size=224, intermediate_size=1216, num_attention_heads=14,
    num_key_value_heads=2,
)  # fmt: skip


def saved_bytes(
    settings: PreTrainedConfig, layers: int, targets: str, tokens: int = 64
) -> tuple[int, memory.Shape]:
    """What autograd keeps of one forward pass, parameters aside, and the sizes of the model."""
    torch.manual_seed(0)
    settings.num_hidden_layers = layers
    model = AutoModelForCausalLM.from_config(settings).to(torch.bfloat16)
    shape = memory.shape_of(model)
    chunk_loss(model)
    lora = config.load("paper", "lora", 1, overrides=[f"adapter.target_modules={targets}"]).adapter
    model = adapters.add(model, lora).train()
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.randint(0, 64, (1, tokens))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        model(input_ids=ids, labels=ids)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), shape


@pytest.mark.parametrize("settings", [LLAMA, QWEN], ids=["llama", "qwen"])
@pytest.mark.parametrize(
    "targets", ["q_proj,v_proj", "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"]
)
def test_activations_are_estimated_within_a_fifth(targets, settings):
    three, _ = saved_bytes(settings, 3, targets)
    one, shape = saved_bytes(settings, 1, targets)
    measured = (three - one) / 2
    shape = dataclasses.replace(shape, parameters=0, vocabulary=0)
    wanted = config.load(
        "paper",
        "lora",
        1,
        overrides=["training.max_length=64", f"adapter.target_modules={targets}"],
    )
    without = dataclasses.replace(wanted.adapter, target_modules=())
    zero = dataclasses.replace(shape, linear={})
    assert memory.training_bytes(
        zero, wanted.training, without, sequences=0, checkpointing=False
    ) == int(memory._OVERHEAD)
    got = [
        memory.training_bytes(
            shape, wanted.training, wanted.adapter, sequences=n, checkpointing=False
        )
        for n in (0, 1)
    ]
    assert got[1] - got[0] == pytest.approx(measured, rel=0.2)


def test_the_cache_is_as_large_as_said(tmp_path):
    model = models.load_model(tiny.make_base(tmp_path), "fp32", "cpu")
    shape = memory.shape_of(model)
    cache = growing_cache(model.config)
    with torch.no_grad():
        model(input_ids=torch.ones(3, 10, dtype=torch.long), past_key_values=cache)
    held = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
    assert held == 3 * 10 * shape.layers * shape.key_value * 4


def plan(shape, memory_gb: float, **kwargs):
    return memory.plan_training(
        shape,
        PAPER.training,
        PAPER.adapter,
        memory=int(memory_gb * GB),
        **{"sequences": 4, **kwargs},
    )


def test_gradients_are_checkpointed_only_where_memory_needs_it(code_llama):
    assert plan(code_llama, 140) is False
    assert plan(code_llama, 20) is True
    assert plan(code_llama, 140, checkpointing=True) is True


@pytest.mark.parametrize(
    ("memory_gb", "kwargs", "message"),
    [
        (12, {}, r"needs about 1\d GB of memory and 12 GB are free: use a larger GPU"),
        (20, {"checkpointing": False}, "leave out --no-gradient-checkpointing"),
        (20, {"sequences": 64}, "--microbatch [12] would fit"),
    ],
)
def test_too_little_memory_says_how_much_and_what_would_fit(code_llama, memory_gb, kwargs, message):
    with pytest.raises(FlexError, match=message) as error:
        plan(code_llama, memory_gb, **kwargs)
    assert "\n" not in str(error.value)


def test_too_many_completions_at_once(code_llama):
    java = next(b for b in PAPER.benchmarks if b.language == "java")
    memory.check_generation(code_llama, [(java, 500)], 128, int(140 * GB))
    with pytest.raises(FlexError, match="--generation-batch 16 would fit"):
        memory.check_generation(code_llama, [(java, 500)], 128, int(24 * GB))
    with pytest.raises(FlexError, match="use a larger GPU"):
        memory.check_generation(code_llama, [(java, 500)], 128, int(10 * GB))


def test_batches_of_beam_sampling_are_fixed(code_llama):
    [settings] = config.load("paper", "base", 1, decoding="humaneval-01").benchmarks
    needed = memory.generation_bytes(code_llama, settings, 8 * 12, 300)
    memory.check_generation(code_llama, [(settings, 300)], 999, needed)
    with pytest.raises(FlexError, match="use a larger GPU"):
        memory.check_generation(code_llama, [(settings, 300)], 1, needed - 1)


def test_a_beam_search_has_the_beams_of_a_problem_at_least(code_llama):
    [settings] = config.load("paper", "base", 1, decoding="humaneval-01").benchmarks
    settings = dataclasses.replace(settings, num_beams=12, temperature=0.0)
    needed = memory.generation_bytes(code_llama, settings, 12, 300)
    with pytest.raises(FlexError, match="--generation-batch 12 would fit"):
        memory.check_generation(code_llama, [(settings, 300)], 64, needed)
    with pytest.raises(FlexError, match="use a larger GPU"):
        memory.check_generation(code_llama, [(settings, 300)], 64, needed - 1)


def test_a_cpu_is_refused_what_takes_days_unless_asked_for(code_llama):
    with pytest.raises(FlexError, match=r"6.7 billion parameters takes days.*--device cpu"):
        memory.check_device(code_llama, "cpu", asked_for=False)
    memory.check_device(code_llama, "cpu", asked_for=True)
    memory.check_device(code_llama, "cuda", asked_for=False)


def test_a_wrong_estimate_ends_in_advice_that_helps():
    many = memory.training_remedy(4, checkpointing=False)
    with pytest.raises(FlexError, match="give a smaller --microbatch"), memory.enough(many):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert memory.training_remedy(1, checkpointing=False) == "give --gradient-checkpointing"
    assert memory.training_remedy(1, checkpointing=True).startswith("use a larger GPU")
    plain = config.load("paper", "base", 0).benchmarks
    assert memory.generation_remedy(plain, 64) == "give a smaller --generation-batch"
    assert memory.generation_remedy(plain, 1).startswith("use a larger GPU")
    beams = [dataclasses.replace(plain[0], num_beams=4, temperature=0.5)]
    assert memory.generation_remedy(beams, 64).startswith("use a larger GPU")


def test_a_model_without_attention_heads_is_refused():
    with torch.device("meta"):
        model = MambaForCausalLM(MambaConfig(num_hidden_layers=1))
    with pytest.raises(FlexError, match="type mamba is no transformer of text alone"):
        memory.shape_of(model)


def test_a_model_of_text_and_images_is_refused():
    """Its LoRA would be on the tower of images too, which no text trains."""
    text = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 64, "image_size": 28, "patch_size": 14}  # fmt: skip
    sizes = Gemma3Config(text_config=text, vision_config=vision)
    with torch.device("meta"):
        model = Gemma3ForConditionalGeneration(sizes)
    with pytest.raises(FlexError, match="type gemma3 is no transformer of text alone"):
        memory.shape_of(model)
