"""Files are there whole or not at all."""

import os
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError
from zimage_layer_lab.core.files.atomic import (
    ABANDONED,
    UNFINISHED,
    WriteError,
    is_unfinished,
    replacing,
    sweep,
    unfinished,
    what_failed,
    write_whole,
)


def test_text_is_written_as_utf_8_into_a_new_folder(tmp_path):
    path = write_whole(tmp_path / "new" / "a.txt", "狐 🦊\n")
    assert path.read_bytes() == "狐 🦊\n".encode()
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_whole(tmp_path / "a.json", "old")
    with pytest.raises(OSError, match="No space"):
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_the_temporary_path_has_the_name_that_writers_look_at_and_is_known_as_unfinished(tmp_path):
    with replacing(tmp_path / "a.npz") as temporary:
        assert temporary.name == "a.npz" and temporary.parent.parent == tmp_path
        assert is_unfinished(temporary) and not is_unfinished(tmp_path / "a.npz")


def test_a_writers_own_temporary_files_go_too(tmp_path):
    with pytest.raises(WriteError):
        with replacing(tmp_path / "a.bin") as temporary:
            temporary.with_name(".tmp123").write_bytes(b"half")
            raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_permissions_follow_the_umask_as_for_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    path = write_whole(tmp_path / "ours", b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "refusal",
    [OSError(28, "No space left on device"), SafetensorError("No space left on device")],
    ids=["of the system", "of safetensors"],
)
def test_what_cannot_be_written_is_named_with_the_reason_and_what_to_do(tmp_path, refusal):
    with pytest.raises(WriteError) as raised:
        with replacing(tmp_path / "a.safetensors"):
            raise refusal
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'a.safetensors'} cannot be written: No space left")
    assert "Make room" in message and UNFINISHED not in message
    assert isinstance(raised.value, OSError)
    assert what_failed(raised.value) == "No space left on device (a.safetensors)"


@pytest.mark.parametrize("place", ["file/a.txt", "folder"], ids=["no folder", "a folder"])
def test_a_place_where_nothing_can_be_written_is_named(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match=f"{place} cannot be written: "):
        write_whole(tmp_path / place, "text")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_other_errors_of_the_body_stay_what_they_are(tmp_path):
    with pytest.raises(KeyError, match="mine"):
        with replacing(tmp_path / "a"):
            raise KeyError("mine")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_once_it_is_old_and_nothing_else(tmp_path):
    names = (f"{UNFINISHED}old", f"{UNFINISHED}new", f"{UNFINISHED}growing", "old.png", ".old")
    for name in names:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "half.png").write_bytes(b"half")
        old = (time.time() - ABANDONED - 60,) * 2
        if "new" not in name:
            os.utime(folder, old)
            if "growing" not in name:
                os.utime(folder / "half.png", old)
    write_whole(tmp_path / "a.txt", "text")
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.txt", *names} - {names[0]}


def test_a_private_file_of_the_writers_gets_the_permissions_of_any_other(tmp_path):
    """safetensors makes its files readable for their owner only."""
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "ours") as temporary:
        temporary.chmod(0o600)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_refusal_is_told_in_a_whole_sentence_and_has_its_parts():
    refused = WriteError(Path("a") / "b.txt", OSError(28, "No space left on device"))
    assert str(refused) == (
        f"{Path('a') / 'b.txt'} cannot be written: No space left on device. Make room or allow "
        "writing there, or choose another place; no half file was left"
    )
    assert (refused.errno, refused.strerror) == (28, "No space left on device")
    assert refused.filename == str(Path("a") / "b.txt")
    for error, reason in ((SafetensorError("full"), "full"), (OSError(), "OSError")):
        assert WriteError(Path("a"), error).strerror == reason


def test_what_failed_is_the_reason_and_the_files_name_if_there_is_one():
    assert what_failed(OSError(28, "No space", "/x/a.txt")) == "No space (a.txt)"
    assert what_failed(OSError(28, "No space")) == "No space"
    assert what_failed(OSError("full")) == "full"


def test_bytes_are_written_as_they_are_and_the_path_comes_back(tmp_path):
    path = write_whole(str(tmp_path / "a"), b"\xff\r\n")
    assert path == tmp_path / "a" and path.read_bytes() == b"\xff\r\n"


def test_a_sweep_takes_what_is_at_least_as_old_as_told_and_leaves_the_rest(tmp_path):
    now = time.time()
    for name, age in (("old", 1000), ("new", 10)):
        folder = tmp_path / f"{UNFINISHED}{name}"
        folder.mkdir()
        (folder / "deep").mkdir()
        (folder / "deep" / "half").touch()
        for part in (folder / "deep" / "half", folder / "deep", folder):
            os.utime(part, (now - age,) * 2)
    sweep(tmp_path, 5000)
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path, 500)
    assert [one.name for one in tmp_path.iterdir()] == [f"{UNFINISHED}new"]
    sweep(tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_after_an_hour_a_folder_counts_as_left(tmp_path):
    assert ABANDONED == 3600
    for name, age in (("old", 3660), ("new", 3540)):
        folder = tmp_path / f"{UNFINISHED}{name}"
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    sweep(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [f"{UNFINISHED}new"]


def test_a_file_moved_elsewhere_by_the_body_stays_and_its_folder_goes(tmp_path):
    with unfinished(tmp_path / "deep" / "er" / "a.txt") as temporary:
        assert temporary.name == "a.txt" and temporary.read_bytes() == b""
        temporary.replace(tmp_path / "b.txt")
    assert (tmp_path / "b.txt").is_file() and not list((tmp_path / "deep" / "er").iterdir())


def test_any_part_of_a_path_may_be_unfinished():
    assert is_unfinished(f"x/{UNFINISHED}1/a") and not is_unfinished(f"x/a{UNFINISHED}1")
