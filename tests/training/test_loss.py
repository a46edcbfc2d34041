"""The loss in chunks is the loss."""

from __future__ import annotations

import pytest
import tiny
import torch
from transformers import GraniteConfig, GraniteForCausalLM, Qwen2Config, Qwen2ForCausalLM

from flexlib import config, models
from flexlib.models import adapters
from flexlib.training.encoding import IGNORED
from flexlib.training.loss import chunk_loss, chunked_cross_entropy


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_sum_and_gradients_are_those_of_the_whole(chunk, trained):
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11).double().requires_grad_(trained)
    hidden = torch.randn(2, 9, 6, dtype=torch.double, requires_grad=True)
    labels = torch.randint(0, 11, (2, 9))
    labels[0, :4] = IGNORED
    wanted = torch.nn.functional.cross_entropy(
        head(hidden).float().flatten(0, 1), labels.flatten(), reduction="sum"
    )
    inputs = [hidden, *(head.parameters() if trained else ())]
    gradients = torch.autograd.grad(3 * wanted, inputs)
    got = chunked_cross_entropy(hidden, labels, head, chunk)
    torch.testing.assert_close(got, wanted)
    got = torch.autograd.grad(3 * got, inputs)
    torch.testing.assert_close(got, gradients, rtol=1e-5, atol=1e-5)  # logits are fp32 either way
    with torch.no_grad():
        torch.testing.assert_close(chunked_cross_entropy(hidden, labels, head, chunk), wanted)


def test_the_logits_are_computed_once():
    """The head of a small model with a large vocabulary is a quarter of its work."""
    head, rows = torch.nn.Linear(6, 11), []
    head.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    hidden = torch.randn(2, 9, 6, requires_grad=True)
    chunked_cross_entropy(hidden, torch.zeros(2, 9, dtype=torch.long), head, chunk=7).backward()
    assert rows == [7, 7, 4]


def test_qwens_loss_and_gradients_in_bf16():
    """Biases in q, k and v, grouped heads, head apart or tied; factors also in the head."""
    torch.manual_seed(0)
    settings = Qwen2Config(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen2ForCausalLM(settings).to(torch.bfloat16)
    targets = ["adapter.target_modules=q_proj,v_proj,lm_head", "adapter.dropout=0"]
    adapted = adapters.add(model, config.load("paper", "lora", 1, overrides=targets).adapter)
    for name, p in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    factors = [p for p in adapted.parameters() if p.requires_grad]
    ids = torch.randint(3, 300, (2, 12))
    labels = ids.clone()
    labels[1, 5:] = IGNORED

    def loss_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            loss = adapted(input_ids=ids, labels=labels).loss
        return loss, torch.cat([g.flatten() for g in torch.autograd.grad(loss, factors)])

    loss, gradient = loss_and_gradient()
    chunk_loss(model, chunk=5)
    got, of_chunks = loss_and_gradient()
    torch.testing.assert_close(got, loss, rtol=1e-3, atol=0)
    assert (of_chunks - gradient).norm() < 0.02 * gradient.norm()  # roundings of 8 bits


@pytest.mark.parametrize("items", [None, 20, torch.tensor(20)])
def test_the_models_own_loss_is_replaced_by_its_equal(base, items):
    model = models.load_model(base, "fp32", "cpu")
    ids = torch.randint(3, 300, (2, 12))
    labels = ids.clone()
    labels[:, :5] = IGNORED
    kwargs = {} if items is None else {"num_items_in_batch": items}
    mask = torch.ones_like(ids)
    with torch.no_grad():
        wanted = model(input_ids=ids, labels=labels, attention_mask=mask, **kwargs).loss
        logits = model(input_ids=ids).logits
        chunk_loss(model, chunk=5)
        got = model(input_ids=ids, labels=labels, attention_mask=mask, **kwargs)
        torch.testing.assert_close(got.loss, wanted)
        assert got.logits is None
        assert torch.equal(model(input_ids=ids).logits, logits)  # without labels: as it was
        del model.forward
        assert model(input_ids=ids, labels=labels).logits is not None


def test_a_model_that_scales_its_logits_keeps_its_own_loss():
    torch.manual_seed(0)
    settings = GraniteConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=4, logits_scaling=4.0,
    )  # fmt: skip
    model = GraniteForCausalLM(settings)
    chunk_loss(model)
    ids = torch.arange(8)[None]
    assert model(input_ids=ids, labels=ids).logits is not None


def test_no_tensor_of_all_logits_is_kept(base):
    model = models.load_model(base, "fp32", "cpu").requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    chunk_loss(model, chunk=4)
    weight = model.lm_head.weight.untyped_storage().data_ptr()
    largest = 0

    def keep(tensor):
        nonlocal largest
        of_logits = tensor.dim() > 1 and tensor.shape[-1] == model.config.vocab_size
        if of_logits and tensor.untyped_storage().data_ptr() != weight:
            largest = max(largest, tensor.numel() // tensor.shape[-1])
        return tensor

    ids = torch.randint(3, 300, (1, 64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=ids, labels=ids).loss.backward()
    assert largest <= 4
