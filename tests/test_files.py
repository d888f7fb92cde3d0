"""Files are there whole or not at all."""

import os

import pytest
from zimage_layer_lab.core.files import replacing, write_whole


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


def test_the_temporary_path_has_the_suffix_that_writers_look_at(tmp_path):
    with replacing(tmp_path / "a.npz") as temporary:
        assert temporary.suffix == ".npz"
        assert temporary.parent == tmp_path


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_permissions_follow_the_umask_as_for_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    path = write_whole(tmp_path / "ours", b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
