"""What stands in front of the screens: the guard that lets nobody through, and the pages for signing in and out.

The pages are plain HTML without scripts. They set a cookie that scripts cannot read, which no screen of Streamlit could
do. Where no sign-in is required, the guard answers this computer only, whatever address the server listens on.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import anyio.to_thread
import streamlit as st
from anyio import CapacityLimiter
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.auth_util import (
    encode_provider_token,
    get_cookie_with_chunks,
    get_secrets_auth_section,
    validate_auth_credentials,
)
from streamlit.errors import StreamlitAuthError, StreamlitMissingAuthlibError
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from utils import accounts, openid, passwords, people, sign_in_pages, sign_ins
from utils.accounts import AccountError
from utils.database import DatabaseError
from utils.passwords import PasswordError
from utils.permissions import SignedOut
from utils.settings import SettingsError, get_settings
from utils.sign_ins import SignedIn, SignInRefused

log = logging.getLogger(__name__)

FIRST_ADMIN = "admin"
_LONGEST_FORM = 8192
_OPEN = (
    *("/_stcore/health", "/sign-in", "/sign-in/password", "/sign-in/openid", "/sign-out"),
    *("/auth/login", "/auth/logout", "/oauth2callback"),
)
_OPEN_FOLDER = "/static/"
"""Streamlit's own scripts and fonts, the same in every installation."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_NOT_LOCAL = (
    "This server asks for no sign-in and therefore answers the computer it runs on only. To reach it from elsewhere, "
    "start it with PNEUMOSCOPE_SIGN_IN=required."
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    # "no-referrer" would take the origin from forms, and with it the proof that they are ours.
    "Referrer-Policy": "same-origin",
}
_REFUSALS = {
    "openid": "The sign-in service let you in, but this department did not: ask your administrator for a role.",
}
_Result = TypeVar("_Result")
# Sign-ins wait for each other here, not in the threads that serve the screens.
_hashing = CapacityLimiter(2)
_MOST_WAITING = 40
_code = ""


def make_ready() -> None:
    """Make the first admin, or the code that does; for the start of the server.

    Exits with a sentence where the settings cannot be used: a server that cannot ask for a sign-in does not start.
    """
    try:
        _check_proxies()
        if people.sign_in_required():
            _first_start()
    except SettingsError as error:
        sys.exit(str(error))
    except DatabaseError as error:
        # It may come back: every page says so until then.
        log.warning("%s", error)


def routes() -> list[BaseRoute]:
    """The pages for signing in and out, under the server's base path."""
    base = _base()
    both = ["GET", "POST"]
    return [
        Route(f"{base}/sign-in", _answering(_sign_in), methods=both),
        Route(f"{base}/sign-in/password", _answering(_password), methods=both),
        Route(f"{base}/sign-in/openid", _answering(_openid), methods=["GET"]),
        Route(f"{base}/sign-out", _answering(_sign_out), methods=both),
    ]


def middleware() -> list[Middleware]:
    """The guard, in front of everything that Streamlit serves."""
    return [Middleware(Guard)]


class Guard:
    """Lets nobody through who has not signed in, to pages, data, uploads and downloads alike."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        people.guarded.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        path = scope["path"]
        send = _with_headers(send, private=path.startswith(f"{_base()}/media/"))
        try:
            if not people.sign_in_required():
                if _is_local(connection):
                    await self.app(scope, receive, send)
                else:
                    await _refuse(scope, receive, send, PlainTextResponse(_NOT_LOCAL, status_code=403))
                return
            if _is_open(path):
                if path == f"{_base()}/oauth2callback":
                    send = _taking_over(connection, send)
                await self.app(scope, receive, send)
                return
            signed = await _in_thread(_signed_in, connection)
        except (DatabaseError, SettingsError) as error:
            await _refuse(
                scope,
                receive,
                send,
                sign_in_pages.refusal("Not available", str(error), status=503),
            )
            return
        # Streamlit looks at a socket's origin, too, but asks the internet for its own address where it is another one.
        ours = scope["type"] == "http" or "origin" not in connection.headers or _is_own(connection)
        if signed is not None and not signed.must_change and ours:
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and "text/html" in connection.headers.get("accept", ""):
            wanted = quote(path + (f"?{connection.url.query}" if connection.url.query else ""), safe="")
            target = f"{_base()}/sign-in?next={wanted}" if signed is None else f"{_base()}/sign-in/password"
            await _refuse(scope, receive, send, RedirectResponse(target, status_code=303))
        else:
            await _refuse(scope, receive, send, PlainTextResponse("Sign in first.", status_code=401))


# --- the pages ---


async def _sign_in(request: Request) -> Response:
    if await _in_thread(_first_start):
        return await _make_first(request)
    after = _safe(request.query_params.get("next"))
    if request.method == "GET":
        if await _in_thread(_signed_in, request) is not None:
            return _to(after)
        return _form_page(after, problem=_REFUSALS.get(request.query_params.get("why", ""), ""))
    form = await _form(request)
    after = _safe(form.get("next"))
    if _hashing.statistics().tasks_waiting >= _MOST_WAITING:
        return _form_page(
            after, problem="Too many people sign in at once: try again in a minute.", status=503
        )
    try:
        cookie = await _in_thread(
            partial(
                sign_ins.sign_in,
                form.get("name", ""),
                form.get("password", ""),
                address=_address(request),
                now=_now(),
                former=request.cookies.get(sign_ins.COOKIE),
            ),
            limiter=_hashing,
        )
    except SignInRefused as error:
        return _form_page(after, problem=str(error), name=form.get("name", ""))
    return _with_cookie(_to(after), request, cookie)


async def _make_first(request: Request) -> Response:
    """The first start: whoever reads the server's log makes the first account."""
    if request.method == "GET":
        return sign_in_pages.first(_base(), name=FIRST_ADMIN)
    form = await _form(request)
    name, title = form.get("name", ""), form.get("title", "")
    if not _code or not passwords.same(form.get("code", "").strip().lower(), _code):
        return sign_in_pages.first(
            _base(), problem="That is not the code in the server's log.", name=name, title=title
        )
    try:
        await _in_thread(
            partial(
                accounts.first_admin,
                name,
                title,
                form.get("new", ""),
                form.get("again", ""),
                address=_address(request),
                now=_now(),
            ),
            limiter=_hashing,
        )
        cookie = await _in_thread(
            partial(
                sign_ins.sign_in,
                name,
                form.get("new", ""),
                address=_address(request),
                now=_now(),
                former=request.cookies.get(sign_ins.COOKIE),
            ),
            limiter=_hashing,
        )
    except (AccountError, PasswordError, SignInRefused) as error:
        return sign_in_pages.first(_base(), problem=str(error), name=name, title=title)
    return _with_cookie(_to("/"), request, cookie)


async def _password(request: Request) -> Response:
    signed = await _in_thread(_signed_in, request)
    if signed is None:
        return _to("/sign-in")
    if signed.openid:
        return sign_in_pages.refusal(
            "Password",
            "Your password is changed where you sign in, not here.",
        )
    if request.method == "GET":
        return sign_in_pages.password(_base(), signed)
    form = await _form(request)
    try:
        cookie = await _in_thread(
            partial(
                sign_ins.change_password,
                signed,
                form.get("password", ""),
                form.get("new", ""),
                form.get("again", ""),
                address=_address(request),
                now=_now(),
            ),
            limiter=_hashing,
        )
    except (AccountError, PasswordError, SignInRefused) as error:
        return sign_in_pages.password(_base(), signed, problem=str(error))
    return _with_cookie(_to("/"), request, cookie)


async def _openid(request: Request) -> Response:
    """On to the provider, as `st.login` goes there."""
    provider = request.query_params.get("provider", "")
    if provider not in await _in_thread(_providers):
        return _to("/sign-in")
    return _to(f"/auth/login?provider={quote(encode_provider_token(provider))}")


async def _sign_out(request: Request) -> Response:
    cookie = request.cookies.get(sign_ins.COOKIE)
    signed = await _in_thread(_signed_in, request)
    if signed is None:
        return _without_cookie(_to("/sign-in"), request)
    # A link is enough where the browser says that it stands on one of our own screens.
    if request.method == "GET" and request.headers.get("sec-fetch-site") != "same-origin":
        return sign_in_pages.page(
            "Sign out",
            f'<p>Signed in as <strong>{escape(signed.person.title)}</strong>.</p><form method="post">'
            "<button>Sign out</button></form>",
        )
    await _in_thread(partial(sign_ins.sign_out, cookie, address=_address(request)))
    return _without_cookie(_to("/auth/logout" if signed.openid else "/sign-in"), request)


def _answering(page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A page behind the checks that all of them share, with errors as sentences."""

    async def answer(request: Request) -> Response:
        try:
            if not people.sign_in_required():
                return _to("/")
            if request.method == "POST" and not _is_own(request):
                return sign_in_pages.refusal(
                    "Not from here",
                    "This form was not sent by this site's own page. Behind a proxy, it has to hand on the name "
                    "and port of the site (Host).",
                    status=403,
                )
            return await page(request)
        except _BadForm as error:
            return sign_in_pages.refusal("Not understood", str(error), status=400)
        except (DatabaseError, SettingsError) as error:
            return sign_in_pages.refusal("Not available", str(error), status=503)

    return answer


# --- who it is ---


def _signed_in(connection: HTTPConnection) -> SignedIn | None:
    try:
        return sign_ins.signed_in(
            connection.cookies.get(sign_ins.COOKIE), address=_address(connection), now=_now()
        )
    except SignedOut:
        return None


def _first_start() -> bool:
    """Whether there is no account yet, and a code has to make the first one; the code is told in the log once."""
    global _code
    if not accounts.none_yet():
        _code = ""
        return False
    password = get_settings().admin_password
    if password is not None:
        secret = password.get_secret_value()
        try:
            accounts.first_admin(FIRST_ADMIN, "Administrator", secret, secret, address="", now=_now())
        except (AccountError, PasswordError) as error:
            if not accounts.none_yet():  # another process of this installation was quicker
                return False
            raise SettingsError(f"PNEUMOSCOPE_ADMIN_PASSWORD cannot be used: {error}") from error
        return False
    if not _code:
        _code = passwords.made()
        # No warning, but it has to be read, and what is less than one is not written.
        log.warning(
            "There is no account yet. Open the sign-in page and make the first one with this code: %s", _code
        )
    return True


def _check_proxies() -> None:
    """Uvicorn takes a client's address from the proxies in `FORWARDED_ALLOW_IPS`; unset, from this computer's alone.

    Where it names everybody, everybody can claim to come from anywhere, and the audit trail would keep it.
    """
    for part in os.environ.get("FORWARDED_ALLOW_IPS", "").split(","):
        try:
            everybody = ipaddress.ip_network(part.strip(), strict=False).prefixlen == 0
        except ValueError:
            everybody = part.strip() == "*"
        if everybody:
            raise SettingsError(
                "FORWARDED_ALLOW_IPS trusts everybody to say where they come from: set it to the address of the "
                "proxy, or leave it unset where the proxy runs on this computer."
            )


def _taking_over(connection: HTTPConnection, send: Send) -> Send:
    """Turn the provider's word into a sign-in of ours, in the one answer in which Streamlit has just checked it.

    The cookie that Streamlit sets holds for 30 days and cannot be taken back: nothing is ever granted for it.
    """

    async def take_over(message: Message) -> None:
        if message["type"] == "http.response.start":
            await _in_thread(_take_over, message, connection)
        await send(message)

    return take_over


def _take_over(message: Message, connection: HTTPConnection) -> None:
    headers = MutableHeaders(raw=message["headers"])
    set_now = SimpleCookie()
    for value in headers.getlist("set-cookie"):
        try:
            set_now.load(value)
        except CookieError:
            continue

    def one(name: str) -> bytes | None:
        kept = set_now.get(name)
        return None if kept is None else decode_signed_value(get_cookie_secret(), name, kept.value)

    if USER_COOKIE_NAME not in set_now or (found := get_cookie_with_chunks(one, USER_COOKIE_NAME)) is None:
        return
    try:
        cookie = openid.sign_in(
            json.loads(found),
            address=_address(connection),
            now=_now(),
            former=connection.cookies.get(sign_ins.COOKIE),
        )
    except (SignInRefused, DatabaseError, SettingsError):
        message["headers"] = [
            (name, value) for name, value in message["headers"] if name.lower() != b"set-cookie"
        ]
        MutableHeaders(raw=message["headers"])["location"] = f"{_base()}/sign-in?why=openid"
        return
    response = _with_cookie(Response(), connection, cookie)
    message["headers"] = [
        *message["headers"],
        *((name, value) for name, value in response.raw_headers if name == b"set-cookie"),
    ]


def _providers() -> list[str]:
    """Names of the OpenID Connect providers in `.streamlit/secrets.toml`; ``default`` where it names one only."""
    section = get_secrets_auth_section()
    if not section:
        return []
    configured = section.to_dict()
    names = [name for name, part in configured.items() if isinstance(part, dict) and "client_id" in part]
    if "client_id" in configured:
        names.insert(0, "default")
    usable = []
    for name in names:
        try:
            validate_auth_credentials(name)
            encode_provider_token(name)
        except (StreamlitAuthError, StreamlitMissingAuthlibError) as error:
            log.warning("OpenID Connect provider %s cannot be used: %s", name, error)
        else:
            usable.append(name)
    return usable


# --- what a request says ---


class _BadForm(ValueError):  # noqa: N818 - never leaves this file
    """A form that no page of ours sends."""


async def _form(request: Request) -> dict[str, str]:
    length = request.headers.get("content-length", "")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not length.isdecimal() or int(length) > _LONGEST_FORM or kind != "application/x-www-form-urlencoded":
        raise _BadForm("The form cannot be read: go back and send it again.")
    try:
        fields = parse_qs(
            (await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=20, errors="strict"
        )
    except ValueError as error:
        raise _BadForm("The form cannot be read: go back and send it again.") from error
    return {name: values[-1] for name, values in fields.items()}


def _is_own(request: HTTPConnection) -> bool:
    """Whether a form comes from one of our own pages: browsers name the origin, and no page can change that."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(host) and host == request.headers.get("host")


def _is_local(connection: HTTPConnection) -> bool:
    """Whether a request comes from this computer and was meant for it.

    A page elsewhere whose name has been made to lead here is told by the name, a proxy by what it adds.
    """
    if connection.client is None or not people.is_loopback(connection.client.host):
        return False
    if any(name in connection.headers for name in _FORWARDED):
        return False
    try:
        host = urlsplit(f"//{connection.headers.get('host', '')}").hostname
        origin = connection.headers.get("origin")
        origin_host = None if origin in (None, "null") else urlsplit(origin).hostname or ""
    except ValueError:
        return False
    return people.is_loopback(host or "") and (origin_host is None or people.is_loopback(origin_host))


def _is_open(path: str) -> bool:
    base = _base()
    if not path.startswith(f"{base}/"):
        return False
    rest = path.removeprefix(base)
    return rest in _OPEN or (rest.startswith(_OPEN_FOLDER) and ".." not in rest and "//" not in rest)


def _safe(wanted: str | None) -> str:
    """Where to go after signing in: a path of this site, never another site."""
    base = _base()
    plain = wanted is not None and re.fullmatch(r"/[\w\-./?=&%+,:]*", wanted, flags=re.ASCII)
    if not wanted or not plain or wanted.startswith("//") or not wanted.startswith(f"{base}/"):
        return "/"
    rest = wanted.removeprefix(base)
    return "/" if rest.startswith(("//", "/sign-", "/_stcore", "/media", "/auth", "/oauth2")) else rest


def _address(connection: HTTPConnection) -> str:
    return "" if connection.client is None else connection.client.host


def _base() -> str:
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def _now() -> datetime:
    return datetime.now(UTC)


async def _in_thread(
    work: Callable[..., _Result], *arguments: Any, limiter: CapacityLimiter | None = None
) -> _Result:
    return await anyio.to_thread.run_sync(work, *arguments, limiter=limiter)


# --- answers ---


async def _refuse(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "Sign in first."})
    else:
        await response(scope, receive, send)


def _with_headers(send: Send, *, private: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if private:
                headers["Cache-Control"] = "private, no-store"
        await send(message)

    return sending


def _to(path: str) -> Response:
    return RedirectResponse(_base() + path, status_code=303, headers={"Cache-Control": "no-store"})


def _with_cookie(response: Response, connection: HTTPConnection, value: str) -> Response:
    # It has no date: closing the browser ends it, as does the server at its own times.
    response.set_cookie(
        sign_ins.COOKIE,
        value,
        path=_base() or "/",
        httponly=True,
        samesite="lax",
        secure=connection.url.scheme in ("https", "wss"),
    )
    return response


def _without_cookie(response: Response, connection: HTTPConnection) -> Response:
    response.delete_cookie(
        sign_ins.COOKIE,
        path=_base() or "/",
        httponly=True,
        samesite="lax",
        secure=connection.url.scheme in ("https", "wss"),
    )
    return response


def _form_page(after: str, *, problem: str = "", name: str = "", status: int = 200) -> Response:
    return sign_in_pages.sign_in(
        _base(), after, providers=_providers(), problem=problem, name=name, status=status
    )
