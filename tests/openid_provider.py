"""A small OpenID Connect provider that vouches for whoever it is told to: authorization code with PKCE, no TLS."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, CLIENT_SECRET = "pneumoscope", "known to both"


class Provider:
    """Serves on a free port of this computer, in a thread, until `close`."""

    def __init__(self, claims: dict[str, Any]) -> None:
        self.claims = claims
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.get(self)

            def do_POST(self) -> None:
                provider.post(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def get(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        if parts.path == "/.well-known/openid-configuration":
            _answer(
                request,
                {
                    "issuer": self.address,
                    "authorization_endpoint": f"{self.address}/authorize",
                    "token_endpoint": f"{self.address}/token",
                    "jwks_uri": f"{self.address}/keys",
                    "end_session_endpoint": f"{self.address}/end",
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "code_challenge_methods_supported": ["S256"],
                },
            )
        elif parts.path == "/keys":
            _answer(request, {"keys": [self.key.as_dict(private=False)]})
        elif parts.path == "/authorize":
            asked = _fields(parts.query)
            code = secrets.token_urlsafe(16)
            self.codes[code] = asked
            _send_to(request, f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")
        elif parts.path == "/end":
            _send_to(request, _fields(parts.query)["post_logout_redirect_uri"])
        else:
            request.send_error(404)

    def post(self, request: BaseHTTPRequestHandler) -> None:
        sent = _fields(request.rfile.read(int(request.headers["content-length"])).decode())
        credentials = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic "))
        asked = self.codes.pop(sent.get("code", ""), None)
        proof = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        if (
            request.path != "/token"
            or asked is None
            or credentials.decode() != f"{CLIENT}:{CLIENT_SECRET}"
            or asked["client_id"] != CLIENT
            or asked["code_challenge"] != base64.urlsafe_b64encode(proof).decode().rstrip("=")
        ):
            request.send_error(400)
            return
        now = int(time.time())
        standard = {"iss": self.address, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, {**standard, **self.claims}, self.key)
        _answer(
            request, {"access_token": "none", "token_type": "Bearer", "expires_in": 60, "id_token": token}
        )


def _fields(text: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(text).items()}


def _answer(request: BaseHTTPRequestHandler, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _send_to(request: BaseHTTPRequestHandler, address: str) -> None:
    request.send_response(302)
    request.send_header("Location", address)
    request.send_header("Content-Length", "0")
    request.end_headers()
