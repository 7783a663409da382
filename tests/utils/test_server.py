"""The guard and its pages, asked as a browser asks; behind it, in Streamlit's place, something that tells who came."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from streamlit.web.server.starlette import starlette_app_utils

from tests.signing_in import PASSWORD
from utils import accounts, people, server, sign_ins
from utils.permissions import LOCAL, Role
from utils.settings import SettingsError

SECRET = "films and verdicts"
OTHER = "staple of the trade"
SITE = "https://pneumo.example"


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)


@dataclass
class Visitor:
    """A browser as far as the server can tell: an address, cookies, the headers that it sends."""

    app: Any
    address: str = "192.0.2.7"
    host: str = "pneumo.example"
    scheme: str = "https"
    cookies: dict[str, str] = field(default_factory=dict)
    flags: str = ""

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, b"", headers)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Answer:
        body = urlencode(fields or {}).encode()
        return self._ask(
            "POST",
            path,
            body,
            {"origin": f"{self.scheme}://{self.host}", "content-type": "application/x-www-form-urlencoded"}
            | {"content-length": str(len(body))}
            | headers,
        )

    def sign_in(self, name: str, password: str = PASSWORD, **more: str) -> Answer:
        return self.post("/sign-in", {"name": name, "password": password, **more})

    def websocket(self, **headers: str) -> str:
        """What the socket says first: accepted, or closed."""
        scope = self._scope("websocket", "/_stcore/stream", headers) | {"subprotocols": ["streamlit"]}
        sent = self._asked(scope, {"type": "websocket.connect"})
        return str(sent[0]["type"])

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        scope = self._scope("http", path, {"accept": "text/html"} | headers) | {"method": method}
        sent = self._asked(scope, {"type": "http.request", "body": body, "more_body": False})
        names = [(key.decode(), value.decode("latin-1")) for key, value in sent[0]["headers"]]
        for key, value in names:
            if key == "set-cookie":
                self.flags = value
                for name, morsel in SimpleCookie(value).items():
                    self.cookies[name] = morsel.value
                    if morsel["max-age"] == "0":
                        del self.cookies[name]
        text = b"".join(message.get("body", b"") for message in sent[1:]).decode()
        return Answer(sent[0]["status"], names, text)

    def _scope(self, kind: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
        bare, _, query = path.partition("?")
        named = {"host": self.host} | {key.replace("_", "-"): value for key, value in headers.items()}
        if self.cookies:
            named["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        scheme = self.scheme.replace("http", "ws") if kind == "websocket" else self.scheme
        return {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": scheme,
            "path": bare,
            "raw_path": bare.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
            "client": (self.address, 50000),
            "server": ("127.0.0.1", 8501),
        }

    def _asked(self, scope: dict[str, Any], message: dict[str, Any]) -> list[dict[str, Any]]:
        # In a thread of its own: a browser test before this one leaves a loop running in the main one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._run(scope, [message])).result()

    async def _run(self, scope: dict[str, Any], incoming: list[dict[str, Any]]) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent


def refused(answer: Answer) -> bool:
    return answer.status == 200 and "That did not work" in answer.text and not answer.header("set-cookie")


async def _behind(request: Request) -> Response:
    return PlainTextResponse(SECRET)


async def _socket(socket: WebSocket) -> None:
    await socket.accept("streamlit")
    await socket.close()


async def _callback(request: Request) -> Response:
    """Streamlit's own answer, once a provider has vouched for somebody."""
    response = RedirectResponse("/", status_code=302)
    response.set_cookie("_streamlit_user", request.query_params["user"], httponly=True)
    return response


@pytest.fixture
def app(home: Path, quick_hashes: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    monkeypatch.setattr(server, "_code", "")
    return Starlette(
        routes=[
            *server.routes(),
            WebSocketRoute("/_stcore/stream", _socket),
            Route("/oauth2callback", _callback),
            Route("/{path:path}", _behind, methods=["GET", "PUT", "POST", "DELETE"]),
        ],
        middleware=server.middleware(),
    )


@pytest.fixture
def visitor(app: Any) -> Visitor:
    accounts.first_admin("admin", "Ada", PASSWORD, PASSWORD, address="", now=datetime.now(UTC))
    return Visitor(app)


def test_nobody_gets_nothing(visitor: Visitor) -> None:
    for path in (
        "/",
        "/training",
        "/administration",
        "/media/1.png",
        "/_stcore/host-config",
        "/_stcore/upload_file/1/2",
    ):
        page = visitor.get(path)
        assert (page.status, page.header("location")) == (303, f"/sign-in?next={quote(path, safe='')}")
        other = visitor.get(path, accept="*/*")
        assert (other.status, other.text) == (401, "Sign in first.")
    for path in (
        "/component/x",
        "/static/../training",
        "/static//x",
        "/sign-in/",
        "/SIGN-IN",
        "/_stcore/health/../x",
    ):
        assert SECRET not in visitor.get(path).text
    assert visitor.post("/_stcore/upload_file/1/2").status == 303
    assert visitor.websocket() == "websocket.close"
    assert visitor.get("/_stcore/health").text == SECRET, "whoever watches the server needs no account"
    assert visitor.get("/static/js/main.js").text == SECRET, "Streamlit's own files"


def test_signing_in_staying_and_signing_out(visitor: Visitor) -> None:
    page = visitor.get("/sign-in?next=%2Ftraining")
    assert page.status == 200 and '<input type="hidden" name="next" value="/training">' in page.text
    assert "<script" not in page.text
    came = visitor.sign_in("admin", next="/training?threshold=0.4")
    assert (came.status, came.header("location")) == (303, "/training?threshold=0.4")
    assert (
        "HttpOnly" in visitor.flags and "Secure" in visitor.flags and "samesite=lax" in visitor.flags.lower()
    )
    assert "max-age" not in visitor.flags.lower() and "expires" not in visitor.flags.lower()
    for _ in range(2):
        assert visitor.get("/training").text == SECRET
    assert visitor.websocket() == visitor.websocket(origin=SITE) == "websocket.accept"
    assert visitor.websocket(origin="https://evil.example") == "websocket.close"
    assert visitor.get("/sign-in").status == 303, "who is in needs no form"
    stolen = dict(visitor.cookies)
    asked = visitor.get("/sign-out")
    assert asked.status == 200 and visitor.get("/").text == SECRET, "a link on another site signs nobody out"
    assert visitor.get("/sign-out", sec_fetch_site="cross-site").status == 200
    out = visitor.get("/sign-out", sec_fetch_site="same-origin")
    assert (out.status, out.header("location"), visitor.cookies) == (303, "/sign-in", {})
    thief = Visitor(visitor.app, cookies=stolen)
    assert thief.get("/").status == 303 and thief.websocket() == "websocket.close"


def test_without_tls_the_cookie_can_be_sent(visitor: Visitor) -> None:
    visitor.scheme = "http"
    visitor.sign_in("admin")
    assert "Secure" not in visitor.flags and "HttpOnly" in visitor.flags


def test_a_token_from_before_is_worth_nothing_after(visitor: Visitor) -> None:
    """Whoever plants a cookie in somebody's browser is not signed in with them."""
    visitor.cookies[sign_ins.COOKIE] = "planted.by-somebody"
    visitor.sign_in("admin")
    first = visitor.cookies[sign_ins.COOKIE]
    assert first != "planted.by-somebody"
    visitor.sign_in("admin")
    assert visitor.cookies[sign_ins.COOKIE] != first
    assert Visitor(visitor.app, cookies={sign_ins.COOKIE: first}).get("/").status == 303


def test_a_form_from_another_site_is_refused(visitor: Visitor) -> None:
    visitor.sign_in("admin")
    fields = {"password": PASSWORD, "new": OTHER, "again": OTHER, "name": "admin"}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://["},
        {"origin": "https://pneumo.example.evil.example"},
        {"origin": "https://pneumo.example:444"},
    ):
        for path in ("/sign-in", "/sign-in/password", "/sign-out"):
            assert visitor.post(path, fields, **headers).status == 403
    silent = Visitor(visitor.app, cookies=visitor.cookies)
    answer = silent._ask("POST", "/sign-out", b"", {"content-length": "0"})
    assert answer.status == 403, "who does not say where from is not ours"
    assert visitor.get("/").text == SECRET
    assert Visitor(visitor.app).sign_in("admin").status == 303, "the password is what it was"


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/%5cevil.example/../\\x",
        "/\t/evil.example",
        "/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "evil.example",
        "/sign-out",
        "/sign-in?next=/sign-out",
        "/auth/logout",
        '/"><script>',
        "",
    ],
)
def test_nobody_is_sent_elsewhere(visitor: Visitor, wanted: str) -> None:
    page = visitor.get(f"/sign-in?next={quote(wanted, safe='')}")
    assert 'name="next" value="/">' in page.text
    assert visitor.sign_in("admin", next=wanted).header("location") == "/"
    assert visitor.get(f"/sign-in?next={quote(wanted, safe='')}").header("location") == "/"


def test_one_sentence_for_all_that_fails(visitor: Visitor) -> None:
    pages = [visitor.sign_in(name, "not the password") for name in ("admin", "nobody", "")]
    assert {(page.status, page.header("set-cookie")) for page in pages} == {(200, "")}
    texts = {re.sub(r'value="[^"]*"|autofocus', "", page.text) for page in pages}
    assert len({re.sub(r" +>", ">", text) for text in texts}) == 1
    assert sign_ins.REFUSED.split(";")[0] in pages[0].text
    said = visitor.sign_in('"><img src=x onerror=alert(1)>', "x").text
    assert "<img" not in said and "&lt;img" in said


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, b"name=admin"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x--"),
        ({"content-length": "99999999"}, b"name=admin"),
        ({"content-length": "none"}, b"name=admin"),
        ({}, b"name=\xff\xfe"),
        ({}, b"&".join(b"a%d=1" % number for number in range(40))),
    ],
)
def test_what_is_no_form_is_said_so(visitor: Visitor, headers: dict[str, str], body: bytes) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
    answer = visitor._ask("POST", "/sign-in", body, {"origin": SITE} | kind | headers)
    assert answer.status == 400 and "cannot be read" in answer.text


def test_a_given_password_opens_one_page_only(visitor: Visitor) -> None:
    given = accounts.add_account("tina", "Tina", [Role.TECHNICIAN], who=LOCAL, now=datetime.now(UTC))
    visitor.sign_in("tina", given)
    assert visitor.get("/").header("location") == "/sign-in/password"
    assert visitor.websocket() == "websocket.close"
    assert visitor.get("/media/1.png", accept="image/png").status == 401
    assert "choose one of your own" in visitor.get("/sign-in/password").text
    wrong = visitor.post("/sign-in/password", {"password": given, "new": OTHER, "again": "another one"})
    assert wrong.status == 200 and "differ" in wrong.text
    before = visitor.cookies[sign_ins.COOKIE]
    visitor.post("/sign-in/password", {"password": given, "new": OTHER, "again": OTHER})
    assert visitor.get("/").text == SECRET
    assert Visitor(visitor.app, cookies={sign_ins.COOKIE: before}).get("/").status == 303


def test_the_first_admin_comes_with_the_code_in_the_log(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    server.make_ready()
    code = caplog.messages[-1].rpartition(" ")[2]
    assert re.fullmatch(r"(\w{5}-){3}\w{5}", code)
    visitor = Visitor(app)
    assert visitor.get("/").header("location") == "/sign-in?next=%2F"
    assert "First start" in visitor.get("/sign-in").text
    assert code not in visitor.get("/sign-in").text
    fields = {"name": "ada", "title": "Ada", "new": PASSWORD, "again": PASSWORD}
    for wrong in ("", "aaaaa-aaaaa-aaaaa-aaaaa", code[:-1]):
        assert "not the code" in visitor.post("/sign-in", {"code": wrong, **fields}).text
    assert "differ" in visitor.post("/sign-in", {"code": code, **fields, "again": OTHER}).text
    assert "not the code" in visitor.post("/sign-in", {"name": "ada", "password": PASSWORD}).text
    assert accounts.none_yet()
    made = visitor.post("/sign-in", {"code": f" {code.upper()} ", **fields})
    assert made.status == 303 and visitor.get("/").text == SECRET
    again = Visitor(app).post("/sign-in", {"code": code, **fields, "name": "eve"})
    assert refused(again) and [
        each.name for each in accounts.list_accounts(who=LOCAL, now=datetime.now(UTC))
    ] == ["ada"]
    assert len(caplog.messages) == 1, "the code is told once"


def test_the_first_admin_comes_from_the_environment(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_ADMIN_PASSWORD", "short")
    with pytest.raises(SystemExit, match=r"PNEUMOSCOPE_ADMIN_PASSWORD cannot be used: .* 12 to 200"):
        server.make_ready()
    monkeypatch.setenv("PNEUMOSCOPE_ADMIN_PASSWORD", PASSWORD)
    server.make_ready()
    visitor = Visitor(app)
    assert "First start" not in visitor.get("/sign-in").text
    assert visitor.sign_in("admin").status == 303
    monkeypatch.setenv("PNEUMOSCOPE_ADMIN_PASSWORD", "another password of hers")
    server.make_ready()
    assert refused(visitor.sign_in("admin", "another password of hers")), "it makes the first one only"


def test_a_server_that_cannot_ask_does_not_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "off")
    with pytest.raises(SystemExit, match="PNEUMOSCOPE_SIGN_IN must be 'auto' or 'required'"):
        server.make_ready()


def test_without_sign_in_this_computer_alone_is_answered(
    app: Any, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "auto")
    assert st.get_option("server.address") == "127.0.0.1"
    here = Visitor(app, address="127.0.0.1", host="localhost:8501", scheme="http")
    assert here.get("/training").text == SECRET
    assert here.websocket(origin="http://localhost:8501") == "websocket.accept"
    assert here.get("/sign-in").header("location") == "/"
    assert Visitor(app, address="::1", host="[::1]:8501").get("/").text == SECRET
    elsewhere = (
        Visitor(app, address="192.0.2.7", host="localhost:8501"),
        Visitor(app, address="127.0.0.1", host="evil.example:8501"),
        Visitor(app, address="127.0.0.1", host=""),
        Visitor(app, address="127.0.0.1", host="localhost.evil.example"),
    )
    for visitor in elsewhere:
        assert visitor.get("/").status == 403
        assert visitor.websocket() == "websocket.close"
    for headers in (
        {"x-forwarded-for": "192.0.2.7"},
        {"forwarded": "for=192.0.2.7"},
        {"origin": "https://pneumo.example"},
    ):
        assert here.get("/", **headers).status == 403
        assert here.websocket(**headers) == "websocket.close"
    assert not (home / "pneumoscope.db").exists(), "and nothing is kept"


@pytest.mark.parametrize("address", ["0.0.0.0", "", "192.0.2.1", "::", "pneumo.example", None])
def test_who_can_be_reached_from_elsewhere_asks(
    visitor: Visitor, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "auto")
    before = st.get_option("server.address")
    try:
        st.config.set_option("server.address", address)
        assert visitor.get("/").status == 303
        visitor.address, visitor.host = "127.0.0.1", "localhost"
        assert visitor.get("/").status == 303
    finally:
        st.config.set_option("server.address", before)


def test_behind_a_path_of_its_own(home: Path, quick_hashes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    accounts.first_admin("admin", "Ada", PASSWORD, PASSWORD, address="", now=datetime.now(UTC))
    before = st.get_option("server.baseUrlPath")
    try:
        st.config.set_option("server.baseUrlPath", "/films/")
        app = Starlette(
            routes=[*server.routes(), Route("/{path:path}", _behind)], middleware=server.middleware()
        )
        visitor = Visitor(app)
        assert visitor.get("/films/training").header("location") == "/films/sign-in?next=%2Ffilms%2Ftraining"
        assert visitor.get("/static/x.js").status == 303
        came = visitor.post(
            "/films/sign-in", {"name": "admin", "password": PASSWORD, "next": "/films/training"}
        )
        assert came.header("location") == "/films/training" and "Path=/films" in visitor.flags
        assert visitor.get("/films/training").text == SECRET
    finally:
        st.config.set_option("server.baseUrlPath", before)


def test_a_providers_word_counts_once_and_by_the_rules(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "get_cookie_secret", lambda: "streamlit's own secret")
    monkeypatch.setenv(
        "PNEUMOSCOPE_OPENID_ROLES", '[{"claim": "groups", "fits": "radiology", "roles": ["clinician"]}]'
    )

    def vouched(secret: str = "streamlit's own secret", **claims: Any) -> str:
        import json

        user = {"iss": "https://id.example", "sub": "17", "name": "Clara", "is_logged_in": True, **claims}
        return starlette_app_utils.create_signed_value(secret, "_streamlit_user", json.dumps(user)).decode()

    refused = visitor.get(f"/oauth2callback?user={vouched(groups=['others'])}")
    assert (refused.header("location"), visitor.cookies) == ("/sign-in?why=openid", {})
    assert "ask your administrator" in visitor.get("/sign-in?why=openid").text
    forged = visitor.get(f"/oauth2callback?user={vouched('another secret', groups=['radiology'])}")
    assert forged.status == 302 and visitor.get("/").status == 303
    visitor.cookies.clear()
    visitor.get(f"/oauth2callback?user={vouched(groups=['radiology'])}")
    assert visitor.get("/").text == SECRET
    kept = visitor.cookies["_streamlit_user"]
    out = visitor.get("/sign-out", sec_fetch_site="same-origin")
    assert out.header("location") == "/auth/logout", "Streamlit and the provider are told, too"
    visitor.cookies = {"_streamlit_user": kept}
    assert visitor.get("/").status == 303, "Streamlit's cookie holds for weeks; nothing is granted for it"


def test_a_database_that_is_gone_is_said_so(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor.sign_in("admin")
    monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    answers = [visitor.get("/"), visitor.get("/sign-in"), visitor.sign_in("admin")]
    assert [answer.status for answer in answers] == [503] * 3
    assert all("Traceback" not in answer.text and SECRET not in answer.text for answer in answers)
    assert visitor.websocket() == "websocket.close"
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL")
    assert visitor.get("/").text == SECRET


def test_settings_that_cannot_be_used_let_nobody_through(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.sign_in("admin")
    monkeypatch.setenv("PNEUMOSCOPE_DATA", "/no/such/folder")
    assert visitor.get("/").status == 503 and visitor.websocket() == "websocket.close"
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "off")
    with pytest.raises(SettingsError):
        people.sign_in_required()
    assert visitor.get("/").status == 503 and visitor.websocket() == "websocket.close"
