"""The loss in chunks is the loss."""

from __future__ import annotations

import pytest
import tiny
import torch

from flexlib import models
from flexlib.training.encoding import IGNORED
from flexlib.training.loss import chunk_loss, chunked_cross_entropy


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_sum_and_gradient_are_those_of_the_whole(chunk):
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11, bias=False).double()
    hidden = torch.randn(2, 9, 6, dtype=torch.double, requires_grad=True)
    labels = torch.randint(0, 11, (2, 9))
    labels[0, :4] = IGNORED
    wanted = torch.nn.functional.cross_entropy(
        head(hidden).float().flatten(0, 1), labels.flatten(), reduction="sum"
    )
    [gradient] = torch.autograd.grad(wanted, hidden)
    got = chunked_cross_entropy(hidden, labels, head, chunk)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(torch.autograd.grad(got, hidden)[0], gradient)


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


def test_no_tensor_of_all_logits_is_kept(base):
    model = models.load_model(base, "fp32", "cpu").requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    chunk_loss(model, chunk=4)
    largest = 0

    def keep(tensor):
        nonlocal largest
        if tensor.dim() > 1 and tensor.shape[-1] == model.config.vocab_size:
            largest = max(largest, tensor.numel() // tensor.shape[-1])
        return tensor

    ids = torch.randint(3, 300, (1, 64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=ids, labels=ids).loss.backward()
    assert largest <= 4
