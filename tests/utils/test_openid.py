"""Signing in with OpenID Connect, the whole way: Streamlit's own routes behind the guard, and a provider."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Route
from streamlit.runtime.secrets import secrets_singleton

pytest.importorskip("authlib", reason="needs requirements-openid.txt")

from streamlit.web.server.starlette.starlette_auth_routes import create_auth_routes

from tests.openid_provider import CLIENT, CLIENT_SECRET, Provider
from tests.utils.test_server import SECRET, SITE, Visitor, _behind
from utils import audit_trail, server

CLARA = {"sub": "17", "name": "Dr Clara", "email": "clara@clinic.example", "email_verified": True}
RULES = '[{"claim": "groups", "fits": "radiology-*", "roles": ["clinician"]}]'


@pytest.fixture
def provider(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_hashes: None
) -> Iterator[Provider]:
    provider = Provider(CLARA | {"groups": ["staff", "radiology-children"]})
    file = tmp_path / "secrets.toml"
    file.write_text(
        f"""
        [auth]
        redirect_uri = "{SITE}/oauth2callback"
        cookie_secret = "0123456789abcdef0123456789abcdef"
        client_id = "{CLIENT}"
        client_secret = "{CLIENT_SECRET}"
        server_metadata_url = "{provider.address}/.well-known/openid-configuration"
        """
    )
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    monkeypatch.setenv("PNEUMOSCOPE_ADMIN_PASSWORD", "three blue wagons")
    monkeypatch.setenv("PNEUMOSCOPE_OPENID_ROLES", RULES)
    before = st.get_option("secrets.files")
    st.config.set_option("secrets.files", [str(file)])
    secrets_singleton._reset()
    yield provider
    provider.close()
    st.config.set_option("secrets.files", before)
    secrets_singleton._reset()


@pytest.fixture
def visitor(provider: Provider) -> Visitor:
    server.make_ready()
    app = Starlette(
        routes=[*server.routes(), *create_auth_routes(""), Route("/{path:path}", _behind)],
        # The guard in front of Streamlit's own session, as `App` puts them.
        middleware=[
            *server.middleware(),
            Middleware(SessionMiddleware, secret_key="0" * 32, https_only=True),
        ],
    )
    return Visitor(app)


def come_back(visitor: Visitor) -> str:
    """Over to the provider and back; the address with the code in it."""
    assert "Sign in with your organisation" in visitor.get("/sign-in").text
    login = visitor.get("/sign-in/openid?provider=default").header("location")
    away = visitor.get(login).header("location")
    with pytest.raises(urllib.error.HTTPError) as back:
        urllib.request.build_opener(_Stay).open(away)
    parts = urlsplit(back.value.headers["Location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{SITE}/oauth2callback"
    return f"{parts.path}?{parts.query}"


def test_a_provider_signs_somebody_in_with_the_roles_of_the_rules(
    visitor: Visitor, provider: Provider
) -> None:
    callback = come_back(visitor)
    visitor.get(callback)
    assert visitor.get("/").text == SECRET
    line = audit_trail.search(audit_trail.Wanted(event="sign-in")).lines[0]
    assert (line.who, line.address) == ("clara@clinic.example", visitor.address)
    made = audit_trail.search(audit_trail.Wanted(event="account", text="clara")).lines[0]
    assert made.after["roles"] == ["clinician"]
    thief = Visitor(visitor.app)
    thief.get(callback)
    assert thief.get("/").status == 303, "the code belongs to the browser that asked for it"
    out = visitor.get("/sign-out", sec_fetch_site="same-origin")
    assert visitor.get(out.header("location")).header("location").startswith(f"{provider.address}/end?")
    assert visitor.get("/").status == 303

    provider.claims = CLARA | {"groups": ["staff"]}  # has left the department
    refused = visitor.get(come_back(visitor))
    assert refused.header("location") == "/sign-in?why=openid" and visitor.get("/").status == 303


def test_what_the_provider_did_not_sign_counts_for_nothing(visitor: Visitor, provider: Provider) -> None:
    for wrong in ({"aud": "another"}, {"nonce": "of another sign-in"}):
        provider.claims = {**CLARA, "groups": ["radiology-children"], **wrong}
        visitor.get(come_back(visitor))
        assert visitor.get("/").status == 303, wrong


class _Stay(urllib.request.HTTPRedirectHandler):
    """Hands the redirection out instead of following it."""

    def redirect_request(self, *_: Any) -> None:
        return None
