"""Files are there whole or not at all."""

import os
import time

import pytest
from safetensors import SafetensorError
from zimage_layer_lab.core.files.atomic import (
    ABANDONED,
    UNFINISHED,
    WriteError,
    is_unfinished,
    replacing,
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
