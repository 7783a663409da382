"""A PostgreSQL server for tests: Debian's programs, a folder of its own, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

USER = "pneumoscope"
# Nothing here has to survive a power cut.
OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "listen_addresses=",
    "shared_buffers=16MB",
)
LONGEST_START = 60.0


class MissingError(RuntimeError):
    """There is no PostgreSQL that could be started; the message says why."""


class Server:
    """A server that lives as long as the tests do: it goes with its parent, however that one ends."""

    def __init__(self) -> None:
        self._programs = _programs()
        user = pwd.getpwuid(os.getuid())
        if user.pw_uid == 0:  # PostgreSQL refuses root
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                user = pwd.getpwnam("nobody")
        self._identity = (
            ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
            if os.getuid() == 0
            else []
        )
        # A socket's path may have 107 bytes: pytest's own folders are too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="pneumoscope-pg-", dir="/tmp"))
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        try:
            self._run(
                "initdb", "--pgdata", str(self.data), "--username", USER, "--auth=trust", "--encoding=UTF8",
                "--locale=C", "--no-sync", "--no-instructions",
            )  # fmt: skip
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, name: str) -> str:
        """For `PNEUMOSCOPE_DATABASE_URL`."""
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def new_database(self) -> str:
        """The URL of a database with nothing in it."""
        self._databases += 1
        name = f"department_{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        """Nothing where it runs already."""
        if self._process is not None:
            return
        options = [part for option in OPTIONS for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._as_user("postgres", "-D", str(self.data), "-k", str(self.folder), *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        end = time.monotonic() + LONGEST_START
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise MissingError(
                        "PostgreSQL does not start: " + (self.folder / "log").read_text()
                    ) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Cut off everybody who is connected; what was committed stays."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop(how=signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as_user(self, program: str, *arguments: str) -> list[str]:
        return ["setpriv", *self._identity, "--pdeathsig", "QUIT", str(self._programs / program), *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            self._as_user(program, *arguments), cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MissingError(f"PostgreSQL's {program} fails: {done.stderr}")


def _programs() -> Path:
    """Folder of the newest server's programs; Debian keeps them off the PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4].split(".")[0])
    )
    if found:
        return found[-1].parent
    if (on_path := shutil.which("initdb")) is not None:
        return Path(on_path).resolve().parent
    raise MissingError("needs PostgreSQL: apt install postgresql")
