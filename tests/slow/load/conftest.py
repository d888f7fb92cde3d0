"""One server for all load tests, with the pack twice and the test's own nodes."""

import pytest

from ..faults.servers import prepared_server


@pytest.fixture(scope="module")
def server(comfyui, tiny_base, pack_root, skip_or_fail, tmp_path_factory):
    """Started with the classic cache: by default ComfyUI keeps outputs until memory runs short."""
    base = tmp_path_factory.mktemp("load_server")
    told = (comfyui, base, tiny_base, pack_root, skip_or_fail)
    with prepared_server(*told, copies=2, extra_args=("--cache-classic",)) as started:
        yield started
