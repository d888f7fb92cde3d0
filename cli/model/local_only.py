"""What every ``from_pretrained`` of the pack is given, and how quiet transformers is."""

from __future__ import annotations

LOCAL_ONLY = {"local_files_only": True, "trust_remote_code": False}
"""Never the network, never code from a folder."""


def quieten() -> None:
    """No progress bars and no warnings of transformers across the command's own output."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
