"""A real server, just started and never looked at, asked for each page as a browser asks."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.browser.conftest import Server, serve
from tests.signing_in import PASSWORD
from utils import accounts, audit_trail, sign_ins
from utils.permissions import LOCAL, Role

TITLES = {
    "worklist": "Worklist",
    "live": "Live performance",
    "metrics": "Metrics",
    "own_films": "Own films",
    "data": "Data",
    "training": "Training",
    "models": "Models",
    "administration": "Administration",
    "account": "Account",
    "diagnose": "Diagnose",
}
HEADINGS = TITLES | {"own_films": "Validate on your own films"}
SEES = {
    Role.TECHNICIAN: {"diagnose", "worklist", "live", "metrics", "account"},
    Role.CLINICIAN: {"diagnose", "worklist", "live", "metrics", "own_films", "account"},
    Role.ADMIN: {"live", "metrics", "own_films", "data", "training", "models", "administration", "account"},
}
MARK = "SomebodyWhomAdminsSee"


@pytest.fixture
def cold(home: Path, quick_hashes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of which nobody has asked anything; it has accounts, and no network to load."""
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    now = datetime.now(UTC)
    accounts.first_admin("first-admin", MARK, PASSWORD, PASSWORD, address="", now=now)
    for role in Role:
        given = accounts.add_account(role.value, role.value, [role], who=LOCAL, now=now)
        signed = sign_ins.signed_in(
            sign_ins.sign_in(role.value, given, address="", now=now), address="", now=now
        )
        sign_ins.change_password(signed, given, PASSWORD, PASSWORD, address="", now=now)
    with serve(tmp_path, "none-that-is-there") as running:
        yield running


def ask(server: Server, path: str) -> tuple[int, str]:
    """Status and where to, for nobody's look at a page."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=30)
    try:
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("location", "")
    finally:
        connection.close()


def look(server: Server, page: str, cookie: str | None) -> list[ForwardMsg]:
    """All that the server sends to a browser that opens a page."""
    headers = {} if cookie is None else {"Cookie": f"{sign_ins.COOKIE}={cookie}"}
    address = server.address.replace("http", "ws") + "/_stcore/stream"
    with connect(
        address, additional_headers=headers, subprotocols=[Subprotocol("streamlit")], max_size=None
    ) as socket:
        wish = BackMsg()
        wish.rerun_script.page_name = page
        socket.send(wish.SerializeToString())
        said = []
        while True:
            message = ForwardMsg()
            message.ParseFromString(bytes(socket.recv(timeout=60, decode=False)))
            said.append(message)
            if message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY and message.WhichOneof("type") == (
                "script_finished"
            ):
                return said


def headings(said: list[ForwardMsg]) -> set[str]:
    return {
        message.delta.new_element.heading.body
        for message in said
        if message.delta.new_element.WhichOneof("type") == "heading"
    }


def menu(said: list[ForwardMsg]) -> set[str]:
    """The menu that stays; a cold server's first word, before any of our code has run, is the names of the files."""
    *_, last = (message.navigation for message in said if message.WhichOneof("type") == "navigation")
    return {page.page_name for page in last.app_pages}


def test_each_page_of_a_cold_server_as_each_role(cold: Server, home: Path) -> None:
    # Nobody's looks leave it cold: none of them gets as far as Streamlit.
    for page in ("", *TITLES):
        status, target = ask(cold, f"/{page}")
        assert (status, target) == (303, f"/sign-in?next=%2F{page}")
        with pytest.raises(InvalidStatus, match="403"):
            look(cold, page, None)
    files = _files(home)
    lines = audit_trail.search().total
    now = datetime.now(UTC)
    cookies = {role: sign_ins.sign_in(role.value, PASSWORD, address="", now=now) for role in Role}
    # The very first look: at the page that is furthest from what the role may see.
    for role, cookie in cookies.items():
        pages = (
            TITLES if role is not Role.ADMIN else ("administration", "data", "training", "models", "worklist")
        )
        for page in sorted(pages, key=lambda name: name != "administration"):
            said = look(cold, page, cookie)
            told = str(said)
            assert (HEADINGS[page] in headings(said)) == (page in SEES[role]), (role, page)
            assert menu(said) == {TITLES[name] for name in SEES[role]}, (role, page)
            assert (MARK in told) == (role is Role.ADMIN and page == "administration"), (role, page)
            assert "Traceback" not in told
    sign_ins.sign_out(cookies[Role.ADMIN], address="")
    with pytest.raises(InvalidStatus, match="403"):
        look(cold, "administration", cookies[Role.ADMIN])
    assert _files(home) == files, "looking leaves nothing behind"
    assert audit_trail.search().total == lines + len(Role) + 1, "three sign-ins and a sign-out"
    assert not [line for line in cold.complaints() if "none-that-is-there" not in line]


def _files(home: Path) -> set[Path]:
    return {file for file in home.rglob("*") if not file.name.startswith("pneumoscope.db")}
