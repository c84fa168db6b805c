"""The codec: one BOS (T12), one end token, no trust in PAD (T1), id 0 as any other id (T8), empty completions refused (T10)."""

from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Message
from instructloop.data.codec import TextCodec
from instructloop.testing import CHAT_TEMPLATE, CHAT_TEMPLATE_WITH_BOS, tiny_codec, tiny_tokenizer

PAD, BOS, EOS, TURN = 0, 1, 2, 3


def body(codec: TextCodec, text: str) -> list[int]:
    """The ids of a text without any special token."""
    return list(codec.tokenizer.encode(text, add_special_tokens=False))


def test_a_plain_prompt_starts_with_exactly_one_bos() -> None:
    codec = tiny_codec()
    assert codec.encode_prompt("hi") == [BOS, *body(codec, "hi")]


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, CHAT_TEMPLATE_WITH_BOS])
@pytest.mark.parametrize("bos", [True, False])
def test_a_template_never_doubles_the_bos(template: str, bos: bool) -> None:
    """T12: whether template, tokenizer or both bring the BOS, the prompt has one; if neither does, it has none."""
    codec = TextCodec(tiny_tokenizer(chat_template=template, bos=bos))
    ids = codec.encode_prompt("hi")
    expected = 1 if bos or template is CHAT_TEMPLATE_WITH_BOS else 0
    assert ids.count(BOS) == expected
    assert ids[expected] == TURN


def test_a_prompt_that_spells_the_bos_out_gets_no_second_one() -> None:
    codec = tiny_codec()
    assert codec.encode_prompt("<s>hi") == codec.encode_prompt("hi")


def test_a_tokenizer_without_bos_keeps_prompts_bare() -> None:
    codec = TextCodec(tiny_tokenizer(bos=False))
    assert codec.encode_prompt("hi") == body(codec, "hi")


def test_the_template_wraps_a_string_as_a_user_turn_and_opens_the_assistants() -> None:
    codec = tiny_codec(chat=True)
    assert codec.render_prompt("hi") == "<|turn|>user\nhi</s>\n<|turn|>assistant\n"
    assert codec.encode_prompt("hi") == codec.encode_prompt((Message("user", "hi"),))


def test_chat_template_false_treats_prompts_as_plain_text() -> None:
    codec = TextCodec(tiny_tokenizer(chat_template=CHAT_TEMPLATE), chat_template=False)
    assert codec.encode_prompt("hi") == [BOS, *body(codec, "hi")]


def test_a_conversation_without_template_becomes_role_lines() -> None:
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert tiny_codec().render_prompt(turns) == "user: a\nassistant: b\nuser: c\nassistant:"


def test_a_completion_has_no_bos_and_one_end_token() -> None:
    codec = tiny_codec()
    assert codec.encode_completion("ok") == [*body(codec, "ok"), EOS]
    assert codec.encode_completion("ok</s>") == codec.encode_completion("ok")


def test_the_name_of_the_end_token_inside_a_completion_is_only_text() -> None:
    codec = tiny_codec()
    ids = codec.encode_completion("a</s>b")
    assert ids.count(EOS) == 1
    assert codec.decode(ids) == "a</s>b"


@pytest.mark.parametrize("text", ["", "</s>"])
def test_an_empty_completion_is_refused(text: str) -> None:
    """T10 at its source."""
    with pytest.raises(DataError, match="the completion is empty"):
        tiny_codec().encode_completion(text)


def test_decoding_keeps_white_space_and_stops_at_the_first_end_token() -> None:
    codec = tiny_codec()
    text = "  two  spaces , ñ 日本 "
    assert codec.decode(codec.encode_completion(text)) == text
    assert codec.decode([*body(codec, "yes"), EOS, *body(codec, "no")]) == "yes"
    assert codec.decode([]) == ""
    assert codec.decode([EOS]) == ""


def test_a_tokenizer_without_eos_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="no end-of-sequence token") as caught:
        TextCodec(tiny_tokenizer(eos=False), name="some/model")
    assert "some/model" in str(caught.value)
    assert caught.value.hint is not None


def test_pad_equal_to_eos_still_ends_completions_in_eos() -> None:
    """T1 at its source; masks come from lengths (see test_sequences)."""
    codec = TextCodec(tiny_tokenizer(pad_is_eos=True))
    assert codec.pad_id == codec.eos_id == EOS
    assert codec.encode_completion("ok")[-1] == EOS


def test_id_zero_works_as_end_token_and_as_pad() -> None:
    """T8: 0 is an id, not a missing value."""
    ends = TextCodec(tiny_tokenizer(eos_is_zero=True))
    assert (ends.eos_id, ends.stop_ids, ends.pad_id) == (0, frozenset({0}), 2)
    assert ends.encode_completion("ok")[-1] == 0
    assert ends.decode([*body(ends, "ok"), 0, *body(ends, "x")]) == "ok"
    assert tiny_codec().pad_id == 0


def test_both_ids_zero_work_together() -> None:
    """T8 and T1 at once: the same token 0 is end and filler."""
    codec = TextCodec(tiny_tokenizer(eos_is_zero=True, pad_is_eos=True))
    assert (codec.eos_id, codec.pad_id) == (0, 0)


def test_a_missing_pad_token_falls_back_to_the_end_token() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    assert TextCodec(tokenizer).pad_id == EOS


def test_the_end_of_turn_of_the_template_ends_completions() -> None:
    """Formats whose turns end in another token than EOS (Llama 3's <|eot_id|>): that token is learned, both stop."""
    template = CHAT_TEMPLATE.replace("</s>", "<|turn|>")
    codec = TextCodec(tiny_tokenizer(chat_template=template))
    assert codec.eos_id == TURN
    assert codec.stop_ids == {TURN, EOS}
    assert codec.encode_completion("ok")[-1] == TURN
    assert codec.encode_text("ok")[-1] == EOS


def test_a_document_has_bos_and_eos() -> None:
    codec = tiny_codec()
    assert codec.encode_text("ab") == [BOS, *body(codec, "ab"), EOS]
    bare = TextCodec(tiny_tokenizer(bos=False))
    assert bare.encode_text("ab") == [*body(bare, "ab"), EOS]


def test_an_empty_prompt_without_bos_starts_from_the_end_token() -> None:
    assert TextCodec(tiny_tokenizer(bos=False)).encode_prompt("") == [EOS]


def test_a_real_sentencepiece_tokenizer_round_trips(shared: Path) -> None:
    from transformers import AutoTokenizer

    codec = TextCodec(AutoTokenizer.from_pretrained(shared / "models/model-stories260K"))
    assert codec.encode_prompt("Once upon a time") == [1, 403, 407, 261, 378]
    assert codec.decode(codec.encode_completion("She was happy.")) == "She was happy."
    assert (codec.eos_id, codec.pad_id) == (2, 0)


def test_gpt2_whose_bos_is_its_eos_gets_no_bos(shared: Path) -> None:
    from transformers import GPT2Tokenizer

    codec = TextCodec(GPT2Tokenizer.from_pretrained(shared / "models/tokenizer-gpt2"))
    assert codec.encode_prompt("Hello") == [15496]
    assert codec.encode_completion(" world") == [995, 50256]
    assert codec.pad_id == 50256


@pytest.mark.parametrize("bos", [True, False])
def test_a_format_that_opens_every_turn_with_bos_keeps_its_turns(bos: bool) -> None:
    """ChatML as SmolLM writes it: the BOS is the marker of a turn, so it stands once a turn and is not doubled at the start."""
    template = CHAT_TEMPLATE.replace("<|turn|>", "<s>")
    codec = TextCodec(tiny_tokenizer(chat_template=template, bos=bos))
    ids = codec.encode_prompt("hi")
    assert ids == body(codec, "<s>user\nhi</s>\n<s>assistant\n")
    assert ids.count(BOS) == 2
