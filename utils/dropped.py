"""What is done with files that were dropped, once they have been read."""

from __future__ import annotations

from typing import Protocol

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx


class Dropped(Protocol):
    """What this module needs of Streamlit's `UploadedFile`."""

    file_id: str


def let_go(*files: Dropped) -> None:
    """Take dropped files out of the server's memory.

    Streamlit keeps them until the session ends, also where their uploader is gone from the page (checked on 1.67): only
    the browser's own button deletes one. The uploader gives them no more from the next run on; give it another key
    then, so that the browser does not show a file that is gone.
    """
    context = get_script_run_ctx()
    if context is None or not isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        return
    for file in files:
        context.uploaded_file_mgr.remove_file(session_id=context.session_id, file_id=file.file_id)
