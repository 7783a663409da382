"""What docs/operating.md promises, and the files it hands out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from model.jobs import NICE_VARIABLE
from tests.signing_in import PASSWORD
from tests.utils.test_server import Visitor
from utils import accounts, audit_trail, server
from utils.settings import PREFIX, PROJECT, Settings

DOCUMENT = PROJECT / "docs" / "operating.md"
OTHERS = "FORWARDED_ALLOW_IPS"


@pytest.fixture
def made_certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that nobody trusts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pneumoscope.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def table_of_variables() -> dict[str, str]:
    """First and second cell of each line whose first cell is a variable."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [re.fullmatch(r"\| `([A-Z_]+)` \| (.*?) \|.*", line) for line in lines]
    return {row[1]: row[2] for row in rows if row}


def test_every_setting_is_explained() -> None:
    named = table_of_variables()
    settings = {PREFIX + name.upper() for name in Settings.model_fields} | {NICE_VARIABLE}
    assert {name for name in named if name.startswith(PREFIX)} == settings
    assert OTHERS in named and all(named.values())


def test_nginx_takes_its_file(tmp_path: Path, made_certificate: tuple[Path, Path]) -> None:
    nginx = shutil.which("nginx", path=os.defpath + ":/usr/sbin")
    if nginx is None:
        pytest.skip("needs nginx: apt install nginx")
    site = (PROJECT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for before, after in {
        "/etc/ssl/certs/pneumoscope.pem": made_certificate[0],
        "/etc/ssl/private/pneumoscope.key": made_certificate[1],
        "listen 80;": "listen 127.0.0.1:18080;",
        "listen [::]:80;": "",
        "listen 443 ssl;": "listen 127.0.0.1:18443 ssl;",
        "listen [::]:443 ssl;": "",
    }.items():
        assert before in site
        site = site.replace(before, str(after))
    file = tmp_path / "nginx.conf"
    folders = "".join(
        f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(f"pid {tmp_path}/pid; events {{}} http {{ {folders} access_log off;\n{site} }}")
    command = [nginx, "-t", "-e", "stderr", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "[warn]" not in done.stderr, done.stderr


@pytest.mark.parametrize("trusted", ["*", "127.0.0.1, *", "0.0.0.0/0", "10.0.0.5,::/0"])
def test_nobody_is_trusted_wholesale(home: Path, monkeypatch: pytest.MonkeyPatch, trusted: str) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    with pytest.raises(SystemExit, match="FORWARDED_ALLOW_IPS trusts everybody"):
        server.make_ready()


def test_the_audit_trail_keeps_the_address_that_the_proxy_saw(
    home: Path, quick_hashes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uvicorn puts it together: a proxy on this computer is believed, a client is not."""
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1, 10.0.0.0/24")
    server.make_ready()
    accounts.first_admin("admin", "Ada", PASSWORD, PASSWORD, address="", now=datetime.now(UTC))
    guarded: Any = Starlette(routes=server.routes(), middleware=server.middleware())
    app = ProxyHeadersMiddleware(guarded, "127.0.0.1, 10.0.0.0/24")

    def sign_in(address: str, forwarded: str) -> Visitor:
        visitor = Visitor(app, address=address, scheme="http")
        headers = {
            "origin": "https://pneumo.example",
            "x-forwarded-for": forwarded,
            "x-forwarded-proto": "https",
        }
        assert visitor.post("/sign-in", {"name": "admin", "password": PASSWORD}, **headers).status == 303
        return visitor

    assert "Secure" in sign_in("127.0.0.1", "192.0.2.7").flags
    sign_in("10.0.0.9", "203.0.113.66, 192.0.2.8")  # the first is what the client says of itself
    assert "Secure" not in sign_in("192.0.2.9", "203.0.113.66").flags
    lines = audit_trail.search(audit_trail.Wanted(event="sign-in")).lines
    assert [line.address for line in reversed(lines)] == ["192.0.2.7", "192.0.2.8", "192.0.2.9"]
