"""Prompt files: what is a prompt, and clear words for what is none."""

import pytest
from zimage_layer_lab.cli.profile.prompt_file import PromptFile, PromptFileError


def write(tmp_path, content):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    return path


def test_one_prompt_a_line_and_blank_lines_are_none(tmp_path):
    path = write(tmp_path, "a cat\n\n  \t\n一只猫，水墨画\nlast, no newline".encode())
    prompts = PromptFile(path)
    assert list(prompts) == ["a cat", "一只猫，水墨画", "last, no newline"]
    assert list(prompts.lines) == [1, 4, 5]
    assert prompts[-1] == "last, no newline" and prompts[:2] == ["a cat", "一只猫，水墨画"]


def test_windows_endings_and_a_byte_order_mark_are_not_part_of_a_prompt(tmp_path):
    prompts = PromptFile(write(tmp_path, b"\xef\xbb\xbfone\r\n\r\ntwo\r\n"))
    assert list(prompts) == ["one", "two"]


def test_spaces_within_a_prompt_stay_as_they_are(tmp_path):
    assert PromptFile(write(tmp_path, b"  two  spaces \n"))[0] == "  two  spaces "


def test_unicode_line_separators_do_not_end_a_prompt(tmp_path):
    assert list(PromptFile(write(tmp_path, "a\u2028b\x0bc\n".encode()))) == ["a\u2028b\x0bc"]


def test_bytes_that_are_not_utf8_are_named_by_line_and_byte(tmp_path):
    path = write(tmp_path, b"fine\nnot \xe9t\xe9\n")
    with pytest.raises(PromptFileError, match=r"prompts\.txt.*line 2, byte 5 is 0xe9"):
        PromptFile(path)


def test_a_byte_order_mark_counts_when_a_byte_is_named(tmp_path):
    with pytest.raises(PromptFileError, match="line 1, byte 5 is 0xff"):
        PromptFile(write(tmp_path, b"\xef\xbb\xbfa\xff\n"))


def test_utf16_is_refused(tmp_path):
    with pytest.raises(PromptFileError, match="line 1, byte 1 is 0xff; save it as UTF-8"):
        PromptFile(write(tmp_path, "a cat\n".encode("utf-16")))


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \t \r\n", b"\xef\xbb\xbf\n"])
def test_a_file_without_prompts_is_refused(tmp_path, content):
    with pytest.raises(PromptFileError, match="holds no prompt"):
        PromptFile(write(tmp_path, content))


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(PromptFileError, match="there is no such file"):
        PromptFile(tmp_path / "absent.txt")
    with pytest.raises(PromptFileError, match="is not a file"):
        PromptFile(tmp_path)


def test_any_number_of_prompts_takes_16_bytes_each(tmp_path):
    prompts = PromptFile(write(tmp_path, b"a rather long prompt, but for the memory\n" * 50_000))
    kept = (prompts.lines, prompts._offsets)
    assert len(prompts) == 50_000
    assert sum(len(part) * part.itemsize for part in kept) == 16 * 50_000
    assert prompts[49_999] == prompts[0]
