"""The nano tokenizer: byte-level BPE whose tokens never cross a line break or an indentation.

A line break is a token of its own and so is each indentation, so that a prompt that ends with a
line break ends where the tokenizer would end a token. Digits are single tokens: a constant is
copied digit by digit.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCAB_SIZE = 1024
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
_PIECES = r"\n|(?: {4})+|[ ]?[A-Za-z]+|_|[ ]?\d|[ ]?[^\sA-Za-z_\d]+|\s"


def train_tokenizer(documents: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on documents; BOS is put before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
