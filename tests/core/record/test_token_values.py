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
    assert changed("雪: 1", record_of(*tokens, prompt="other")) == [{4: 1}]


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
