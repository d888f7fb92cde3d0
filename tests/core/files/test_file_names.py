"""Names from outside, judged by Python's own reading of Windows paths and Microsoft's rules."""

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.files import file_names
from zimage_layer_lab.core.files.file_names import (
    is_below,
    objection,
    plain_file_name,
    windows_objection,
)

OUT = PureWindowsPath("C:/ComfyUI/output")
# learn.microsoft.com/windows/win32/fileio/naming-a-file
DEVICES = "CON PRN AUX NUL COM1 COM9 COM\u00b9 LPT1 LPT\u00b3 CONIN$ CONOUT$".split()
REFUSED = '<>:"|?*' + "".join(map(chr, range(32)))


@pytest.mark.parametrize(
    "name",
    [
        "reference",
        "layer_lab/reference",
        r"layer_lab\reference",
        "a/./b",
        "a/../b",
        "über/图.safetensors",
        ".hidden",
        "concert/console.txt",
        "COM10",
        "a [output]",
    ],
)
def test_an_ordinary_name_is_no_trouble_on_windows(name):
    assert windows_objection(name) == ""


@pytest.mark.parametrize(
    "name",
    ["C:x", r"C:\x", "C:/x", "/x", r"\x", r"\\server\share\x", "//server/share/x", r"\\?\C:\x"],
)
def test_a_drive_a_server_and_the_root_are_told_as_python_tells_them(name):
    assert PureWindowsPath(name).anchor
    assert "drive, a server or the root" in windows_objection(name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", ["{}", "{}.txt", "a/{}", r"a\{}.b.c", "{}/a", "{} .txt"])
def test_a_device_is_told_in_any_part_case_and_with_any_ending(device, shape):
    for spelt in (device, device.lower()):
        assert "is a device" in windows_objection(shape.format(spelt))


@pytest.mark.parametrize("sign", [*REFUSED])
def test_a_sign_that_windows_refuses_is_named(sign):
    assert repr(sign) in windows_objection(f"layers/a{sign}b.safetensors")


@pytest.mark.parametrize("name", ["a.", "a ", "a./b", "a /b", "...", " ", "a/ .. /b", "x:y"])
def test_what_windows_would_read_as_another_name_is_refused(name):
    assert windows_objection(name)


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_any_text_at_all_becomes_one_file_of_the_folder_on_every_system(text):
    name = plain_file_name(text)
    assert PureWindowsPath(OUT, name).parent == OUT and Path("/out", name).parent == Path("/out")
    assert not set(name) & set(REFUSED + "/\\") and name not in (".", "..")
    assert name[-1] not in ". " and len(name.encode("utf-8")) <= 200
    assert name.partition(".")[0].rstrip().upper() not in DEVICES
    assert plain_file_name(name) == name


@pytest.mark.parametrize("name", ["a.png", "layer_-2_00001_.png", "图 1.webp", ".hidden", "a.b.c"])
def test_an_ordinary_name_stays_as_it_is(name):
    assert plain_file_name(f"some\\folder/{name}") == name


def test_a_long_name_keeps_its_ending():
    assert plain_file_name("图" * 100 + ".png") == "图" * 65 + ".png"


def test_a_name_leads_below_a_folder_or_it_does_not(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path.parent)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("a", "a/b", "a/../b", str(tmp_path / "a")):
        assert is_below(tmp_path, name)
    for name in ("", ".", "..", "../a", "/etc/passwd", "a\0b", "link/a", "a/.."):
        assert not is_below(tmp_path, name)


@pytest.mark.parametrize("name", [r"\\server\share\x", "C:x", "NUL", "a./b", "a:b"])
def test_on_windows_such_a_name_is_refused_before_the_disk_is_asked(name, tmp_path, monkeypatch):
    """To resolve a server's name is to call that server, with the user's credentials."""
    monkeypatch.setattr(file_names, "ON_WINDOWS", True)

    def asked(self, *_, **__):
        raise AssertionError(f"{self} was resolved")

    monkeypatch.setattr(type(tmp_path), "resolve", asked)
    assert not is_below(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("C:/x", "it begins with 'C:\\\\', a drive, a server or the root"),
        ("C:x", "it begins with 'C:', a drive, a server or the root"),
        ("/x", "it begins with '\\\\', a drive, a server or the root"),
        ("a/b?c", "'b?c' has '?', which Windows keeps for itself"),
        ("a/b. /c", "'b. ' ends with a dot or space, which Windows drops"),
        ("a/aux .b.c", "'aux .b.c' is a device of Windows"),
        ("com0", "'com0' is a device of Windows"),
    ],
)
def test_an_objection_is_a_whole_sentence(name, says):
    assert windows_objection(name) == says


def test_elsewhere_than_on_windows_its_rules_do_not_hold(monkeypatch, tmp_path):
    monkeypatch.setattr(file_names, "ON_WINDOWS", False)
    assert objection("NUL") == "" and is_below(tmp_path, "NUL")
    monkeypatch.setattr(file_names, "ON_WINDOWS", True)
    assert objection("NUL") == "'NUL' is a device of Windows"
    assert not is_below(tmp_path, "NUL") and is_below(tmp_path, "a")


def test_a_name_that_cannot_be_resolved_leads_nowhere(tmp_path):
    assert not is_below(tmp_path, "\ud800") and not is_below(tmp_path, "a" * 5000 + "/../..")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("con", "_con"),
        ("aux.png", "_aux.png"),
        ("a\\b/c:d", "c_d"),
        ("", "_"),
        ("x/", "_"),
        (". .", "_"),
        ("a. .", "a"),
        ("a\ud800b", "a_b"),
        ("a" * 200, "a" * 200),
        ("a" * 201, "a" * 200),
        ("a" * 196 + ".png", "a" * 196 + ".png"),
        ("a" * 197 + ".png", "a" * 196 + ".png"),
        ("a" * 190 + "." + "b" * 19, "a" * 180 + "." + "b" * 19),
        ("a" * 190 + "." + "b" * 20, "a" * 190),
        ("图" * 67, "图" * 66),
    ],
)
def test_a_name_becomes_one_file_of_every_system(name, plain):
    assert plain_file_name(name) == plain
