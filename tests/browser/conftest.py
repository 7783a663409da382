"""A real server and a real Chromium. Skips, with the reason, where there is no Chromium."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model.inference import Predictor
from model.registry import Version, list_versions, read_version

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """A running server: its address, and the file its output goes to."""

    address: str
    log: Path

    def complaints(self) -> list[str]:
        """Lines of the log that look like trouble."""
        words = ("error", "warning", "traceback", "exception")
        return [
            line for line in self.log.read_text().splitlines() if any(word in line.lower() for word in words)
        ]


@contextlib.contextmanager
def serve(folder: Path, version: str) -> Iterator[Server]:
    """Run the app on a free port, its state in `folder`, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    environment = {
        **os.environ,
        "PNEUMOSCOPE_HOME": str(folder / "home"),
        "PNEUMOSCOPE_VERSION": version,
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.fileWatcherType", "none"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for_health(f"http://127.0.0.1:{port}/_stcore/health", process, log)
        yield Server(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_health(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            # Waits for the process itself: returns early only where it has died.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.25)
                break
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def version_folder(request: pytest.FixtureRequest) -> str:
    """The version the browser tests read with: the released one, or the tiny one where none is there."""
    released = list_versions()
    version: Version = released[0] if released else request.getfixturevalue("tiny_version")
    return str(version.folder)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, version_folder: str) -> Iterator[Server]:
    """One warm server for all tests that do not mind what was asked of it before."""
    folder = tmp_path_factory.mktemp("server")
    # Converted here, because that takes as long as TensorFlow takes to start, and no test is about it.
    Predictor.load(read_version(Path(version_folder)), cache=folder / "home" / "cache")
    with serve(folder, version_folder) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = os.environ.get("PNEUMOSCOPE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as engine:
        if not found and not Path(engine.chromium.executable_path).exists():
            pytest.skip("browser tests need Chromium: install it or name it in PNEUMOSCOPE_CHROMIUM")
        browser = engine.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address in a fresh session; at the end the browser's console must have had nothing to complain of."""
    contexts = []
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # Streamlit's own page looks for its server under the path it was opened at, before it finds it at the root.
        own = re.search(r"/\w+/_stcore/(health|host-config)$", message.location["url"])
        if message.type in ("error", "warning") and not own:
            complaints.append(f"{message.text} {message.location['url']}")

    def open_(address: str, *, width: int = 1440, height: int = 900) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        contexts.append(context)
        context.set_default_timeout(90_000)
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
