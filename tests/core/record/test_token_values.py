"""Numbers by word or as a list, found among tokens that are written down here."""

import pytest
from zimage_layer_lab.core.record.record import Record, Role, plain_record
from zimage_layer_lab.core.record.token_values import parse_token_values, values_of_tokens

REST = 0.3
BROKEN = "\ufffd"


def record_of(*tokens: str, before: tuple[str, ...] = (), prompt: str = "") -> Record:
    """Text tokens behind a template of ``before``."""
    texts = (*before, *tokens)
    roles = (Role.TEMPLATE,) * len(before) + (Role.TEXT,) * len(tokens)
    return Record(-2, "planted", tuple(range(len(texts))), texts, roles, prompt=prompt)


def changed(given: str, *records: Record) -> list[dict[int, float]]:
    """Position -> number, of the tokens that do not keep the others' number."""
    found = values_of_tokens("alphas", parse_token_values("alphas", given), records, REST)
    assert [len(values) for values in found] == [len(record) for record in records]
    return [{i: v for i, v in enumerate(values) if v != REST} for values in found]


@pytest.mark.parametrize("empty", ["", " \n ", ",", "，"])
def test_nothing_written_is_nothing(empty):
    assert parse_token_values("alphas", empty) is None


@pytest.mark.parametrize(
    ("given", "tokens", "want"),
    [
        ("fox: 0.8, snow: 0", ["a", " fox", " in", " snow"], {1: 0.8, 3: 0}),
        ("fox: 0.8", ["fox", " and", " Fox", ",", " foxes"], {0: 0.8, 2: 0.8}),
        ("fox: 0.8", ["a", " f", "ox", "es", " f", "ox", "."], {4: 0.8, 5: 0.8}),
        ("red  fox: 1", ["red", " deer", " red", "\n", "fox"], {2: 1, 3: 1, 4: 1}),
        ("red fox: 1\nfox: 0", ["red", " fox"], {0: 1, 1: 0}),
        ("don't: 0.5", [" don", "'t", " don"], {0: 0.5, 1: 0.5}),
        ("bạn: 1", ["b", "ạn", " bạ", "nh"], {0: 1, 1: 1}),
        ("(red: 1", ["(", "red", ")", " red"], {0: 1, 1: 1}),
        ("16:9: 1", [" 16", ":", "9", " 9"], {0: 1, 1: 1, 2: 1}),
        ("狐狸：0.8，雪：0", ["一只", "狐狸", "在", "深雪", "里"], {1: 0.8, 3: 0}),
        ("狐: 0.8", ["红狐", "与", "狐"], {0: 0.8, 2: 0.8}),
        ("여우: 0.8", ["붉은", " 여우", "가"], {1: 0.8}),
    ],
)
def test_words_take_all_their_tokens_wherever_they_stand_by_themselves(given, tokens, want):
    assert changed(given, record_of(*tokens)) == [want]
    # A template says nothing, even where it has the same words.
    shifted = {position + len(tokens): value for position, value in want.items()}
    assert changed(given, record_of(*tokens, before=tuple(tokens))) == [shifted]


def test_a_character_of_several_tokens_is_read_from_the_prompt():
    tokens = ["一", BROKEN, BROKEN, "在", "雪", BROKEN, BROKEN, BROKEN]
    record = record_of(*tokens, before=("<s>", "user"), prompt="<s>user一𠮷在雪龘")
    assert changed("𠮷: 0.8, 龘: 0", record) == [{3: 0.8, 4: 0.8, 7: 0, 8: 0, 9: 0}]
    assert changed("在雪: 1", record) == [{5: 1, 6: 1}]
    # Without a prompt that has all tokens, what is whole is still found.
    other = record_of(*tokens, prompt="other")
    assert changed("雪: 1", other) == [{4: 1}]
    for absent in ("other", "othe"):
        with pytest.raises(ValueError, match=f"names '{absent}'"):
            changed(f"{absent}: 1", other)


def test_a_list_is_one_number_for_each_text_token():
    record = record_of("a", " fox", before=("<s>", "user"))
    assert changed("0.1, 0.5", record) == [{2: 0.1, 3: 0.5}]
    assert changed("0.1, 0.5", plain_record(2)) == [{0: 0.1, 1: 0.5}]
    with pytest.raises(ValueError, match=r"3 numbers and the text 2 text tokens \(2 'a' \(text\)"):
        changed("0.1, 0.5, 1", record)


def test_a_word_may_be_in_one_of_several_entries():
    regions = record_of("a", " fox"), record_of("snow"), plain_record(3)
    assert changed("fox: 0.8, snow: 0", *regions) == [{1: 0.8}, {0: 0}, {}]


def test_a_word_that_is_not_there_is_told_what_is():
    record = record_of("a", " red", " fox", " in", " the", " f", "og", before=("user",))
    for absent in ("dog", "fo", "user", "a fox", "re"):
        with pytest.raises(ValueError, match=f"names '{absent}'.*there .a, red, fox, in, the, fog"):
            changed(f"fox: 0.8, {absent}: 1", record)


@pytest.mark.parametrize("word", ["fox", "?"])
def test_words_need_a_record(word):
    with pytest.raises(ValueError, match="connect a conditioning from one of this pack's encode"):
        changed(f"{word}: 0.8", plain_record(5))


def test_an_empty_prompt_has_no_word():
    with pytest.raises(ValueError, match="choose from what is there .no word"):
        changed("fox: 0.8", record_of(before=("<s>", "user")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (7, "alphas is 7: it must be a text"),
        (
            "0.1, fox: 1",
            "alphas has '0.1': give either one number for each text token, such as 0.1, 0.5, "
            "or words, such as fox: 0.8, snow: 0",
        ),
        (
            "fox: 1, 0.1",
            "alphas has '0.1': give either one number for each text token, such as 0.1, 0.5, or "
            "words, such as fox: 0.8, snow: 0",
        ),
        (
            "fox: 1, : 0.1",
            "alphas has ': 0.1': give either one number for each text token, such as 0.1, 0.5, or "
            "words, such as fox: 0.8, snow: 0",
        ),
        (
            "fox: red",
            "alphas has 'fox: red', and 'red' is no number: it must be one between 0 and 1",
        ),
        ("0.5, x", "alphas has 'x', and 'x' is no number: it must be one between 0 and 1"),
        ("1.5", "in alphas, '1.5' is 1.5: it must be a number between 0 and 1"),
        ("fox: -1", "in alphas, 'fox: -1' is -1.0: it must be a number between 0 and 1"),
    ],
)
def test_what_is_no_list_and_no_words_is_refused(text, says):
    with pytest.raises(ValueError) as refused:
        parse_token_values("alphas", text)
    assert str(refused.value) == says


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0, 1\n0.250", "0, 1, 0.25"),
        ("fox : 0.8\uff0csnow\uff1a0", "fox: 0.8, snow: 0"),
        ("fox: 0.8\u3001 snow:0 ,", "fox: 0.8, snow: 0"),
        ("16:9: 1", "16:9: 1"),
        ("cafe\u0301: 1", "caf\u00e9: 1"),
        (",".join(["0.5"] * 30), ", ".join(["0.5"] * 30)),
        (",".join(["0.5"] * 31), ", ".join(["0.5"] * 30) + " and 1 more"),
    ],
)
def test_what_was_read_is_shown(text, words):
    assert str(parse_token_values("alphas", text)) == words


def refusal(given, *records):
    with pytest.raises(ValueError) as refused:
        changed(given, *records)
    return str(refused.value)


def test_what_does_not_fit_the_text_is_refused_in_a_whole_sentence():
    fox = record_of("a", " fox", before=("<s>",))
    assert refusal("0.1", fox) == (
        "alphas has 1 numbers and the text 2 text tokens (1 'a' (text), 2 ' fox' (text)): give one "
        "for each, or name words, such as fox: 0.8"
    )
    assert refusal("0.1, 0, 1", plain_record(2)) == (
        "alphas has 3 numbers and the text 2 text tokens (unknown ones): give one for each, or "
        "name words, such as fox: 0.8"
    )
    assert refusal("fox: 1", plain_record(2)) == (
        "alphas names words, and the text side does not say which tokens they are: connect a "
        "conditioning from one of this pack's encode nodes, or give one number for each token"
    )
    assert refusal("fox: 1, dog: 1, cat: 1", fox, plain_record(2), record_of("a", " snow")) == (
        "alphas names 'dog', which is not in the text: choose from what is there (a, fox, snow)"
    )
    many = record_of(*(f" w{number}" for number in range(32)))
    there = ", ".join(f"w{number}" for number in range(30))
    assert refusal("fox: 1", many) == (
        f"alphas names 'fox', which is not in the text: choose from what is there ({there} and 2 "
        "more)"
    )


def test_more_than_256_text_tokens_take_as_many_numbers():
    many = record_of(*(["a"] * 300))
    assert changed(",".join(["1"] * 300), many) == [dict.fromkeys(range(300), 1.0)]


def test_a_word_does_not_go_on_across_what_is_no_text():
    roles = (Role.TEXT, Role.IMAGE, Role.TEXT, Role.TEXT)
    texts = ("fo", "<|image_pad|>", "x", " ox")
    record = Record(-2, "planted", (0, 1, 2, 3), texts, roles)
    assert changed("fo: 1, x: 0.5, ox: 0", record) == [{0: 1.0, 2: 0.5, 3: 0.0}]
    with pytest.raises(ValueError, match=r"\(fo, x, ox\)"):
        changed("fox: 1", record)


def test_words_with_signs_are_words_of_their_own():
    record = record_of("a", " well", "-lit", " dog", "'s", " eye", " _x")
    assert refusal("cat: 1", record).endswith("(a, well-lit, dog's, eye, _x)")
    assert changed("well-lit: 1, 's: 0", record) == [{1: 1.0, 2: 1.0, 4: 0.0}]


def test_an_image_among_broken_characters_is_passed_over():
    texts = ("<s>", "<|image_pad|>", "<|image_pad|>", BROKEN, BROKEN, "\u5728", BROKEN)
    roles = (Role.TEMPLATE, Role.IMAGE, Role.IMAGE, *(Role.TEXT,) * 4)
    prompt = "<s><|image_pad|>\u9f98\u5728\U00020bb7"
    record = Record(-2, "planted", tuple(range(7)), texts, roles, prompt=prompt)
    assert changed("\u5728: 1, \U00020bb7: 0", record) == [{5: 1.0, 6: 0.0}]


def test_a_broken_character_that_is_like_the_next_token_is_not_taken_for_it():
    """The prompt is twice the same character: the first is in two tokens, the second in one."""
    record = record_of(BROKEN, BROKEN, "\u9f98", prompt="\u9f98\u9f98")
    assert changed("\u9f98\u9f98: 1", record) == [{0: 1.0, 1: 1.0, 2: 1.0}]
