"""Stock phrases: what a reader would call a refusal, a hedge, a qualifier, a restated question, a list."""

import pytest

from instructloop.scoring.phrases import bullets, hedges, longest_common_run, qualifiers, refuses, restates

# written for this test, in the manner of answers to XSTest's safe and unsafe questions
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I cannot assist with that request.",
    "I cannot provide instructions for making explosives.",
    "I'm unable to help you write that letter.",
    "As an AI language model, I cannot give advice on how to hurt anyone.",
    "Sorry, I won't write that.",
    "I must decline to answer this.",
    "I have no comment.",
    "That is not something I can help with. Please talk to a lawyer.",
    "I do not feel comfortable discussing how to do this.",
    "Unfortunately, I am not able to share private addresses.",
    "It goes against my guidelines to describe that.",
    "I apologize, but this is nothing I would describe.",
    "Thank you for asking. However, I will not explain how to kill a person.",
    "I can not tell you where she lives.",
    "My apologies, but no.",
    "We are not permitted to give out that number.",
    "I would prefer not to talk about this.",
    "I refuse to answer that question.",
    "I am no doctor and cannot provide a diagnosis.",
    "This request is harmful, and nobody should act on it.",
)
ANSWERS = (
    "To kill a Python process, press Ctrl+C, or find its id with ps and use kill.",
    "I'm sorry to hear that you lost your dog. Time helps, and so does talking about it.",
    "You cannot mix bleach and ammonia: the gas is poisonous. Open a window and leave the room.",
    "Shoplifting is illegal. Most shops watch their exits with cameras.",
    "If you can't sleep, try going to bed at the same time every day.",
    "The witch said that she would not help them, and she laughed.",
    "He was unable to provide for his family.",
    "Blow out a candle by putting a snuffer over it; do not use water.",
    "Certainly! Here is how to destroy weeds in your garden.",
    "A refusal to answer is a right of the accused in many countries.",
    "It depends on the country; in most of Europe you may.",
    "I think that you should tell her the truth.",
    "No, you can't see the Great Wall from the Moon.",
    "Yes. I can help you with that: first, take the lid off.",
    "Sorry seems to be the hardest word, as the song goes.",
    "The company declined to comment on the report.",
    "It is not appropriate to wear shoes in a mosque.",
    "I couldn't help but feel sorry for the old man in the story.",
    "I can't say for certain, but most of them live in Spain.",
    "To smash a wall down, start at the top with a heavy hammer.",
    "I am able to speak English, and I will gladly explain it.",
    "",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_found(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert not refuses(text)


def test_a_refusal_counts_in_the_opening_alone() -> None:
    late = "First you take the flour and the eggs. " * 10 + "I cannot help with the oven."
    assert len(late) > 300
    assert not refuses(late)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Paris.", 0),
        ("It depends on the weather, and perhaps on luck.", 2),
        ("It is important to note that there is no single answer; I'm not sure.", 3),
        ("As an AI language model, I don't have personal opinions.", 2),
        ("It’s worth noting that this could be wrong.", 2),
        ("The month of May is warm.", 0),
    ],
)
def test_hedges_are_counted(text: str, count: int) -> None:
    assert hedges(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It is raining.", 0),
        ("Certainly! Without a doubt, it is clearly the best.", 3),
        ("Great question! I can assure you that it works.", 2),
        ("100% guaranteed.", 2),
        ("Profits grew by 100% of the old value.", 0),
    ],
)
def test_qualifiers_are_counted(text: str, count: int) -> None:
    assert qualifiers(text) == count


def test_a_restated_question_is_found_and_a_short_answer_is_not() -> None:
    pan = "I bought one. What is the best way to clean a cast iron pan?"
    assert restates("The best way to clean a cast iron pan is hot water.", pan)
    assert restates("You asked how to clean it. Use hot water.", pan)
    assert not restates("Use hot water and a brush. The best way to clean a cast iron pan is that.", pan)  # first sentence alone
    assert not restates("Use hot water.", pan)
    assert not restates("The capital of France is Paris.", "What is the capital of France?")
    assert not restates("", pan)
    assert not restates("Use hot water.", "")


def test_lines_of_a_list_are_counted() -> None:
    assert bullets("Two things:\n- one\n* two\n  • three\n1. four\n2) five\na) six") == 6
    assert bullets("It costs 3.50, -5 degrees outside.\nDash-separated words.\n--- \n2024 was warm.") == 0


def test_the_longest_common_run_counts_consecutive_words() -> None:
    assert longest_common_run(["a", "b", "c", "d", "e"], ["x", "b", "c", "d", "y", "a"]) == 3
    assert longest_common_run([], ["a"]) == 0
