"""What the command loads before it asks a server: nothing that computes."""

import subprocess
import sys

import zimage_layer_lab.core as core

HEAVY = ("torch", "numpy", "scipy", "transformers", "matplotlib", "PIL", "ray", "jinja2")


def test_the_command_starts_without_torch():
    code = (
        "import sys, zimage_layer_lab.cli.queue.command\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    started = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
    )
    assert started.stdout.split() == [], started.stderr
    assert started.returncode == 0, started.stderr


def test_what_core_gives_out_is_imported_when_it_is_asked_for():
    for name in core.__all__:
        assert getattr(core, name) is not None
    assert core.ChannelStats is core.DimensionStats
    assert set(core.__all__) <= set(dir(core)) and not hasattr(core, "nothing")
