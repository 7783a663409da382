"""Who is at the screen."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from utils import sign_ins
from utils.permissions import LOCAL, Person, SignedOut
from utils.settings import get_sign_in_settings

guarded = threading.Event()
"""Set where `utils.server` stands in front of the screens, their uploads and their downloads in this process."""


def sign_in_required() -> bool:
    """Whether one has to sign in: always, unless the server listens on a loopback address only.

    `PNEUMOSCOPE_SIGN_IN=required` asks for it there too, as a proxy in front of the server needs. There is no value
    that takes it away.

    Raises:
        SettingsError: PNEUMOSCOPE_SIGN_IN cannot be used.
    """
    if get_sign_in_settings().sign_in == "required":
        return True
    address = st.get_option("server.address")
    return not (isinstance(address, str) and is_loopback(address))


def is_loopback(host: str) -> bool:
    """Whether a host, an address or ``localhost``, without port, is this computer's own."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def current() -> Person:
    """The person of the running script or callback.

    Looked up anew each time, so that whoever was signed out, deactivated or given another role is known at once.

    Raises:
        SignedOut: nobody is signed in.
        DatabaseError: the accounts cannot be read.
        SettingsError: the settings cannot be used.
    """
    return later()()


def later() -> Callable[[], Person]:
    """How to ask for the same person once more outside of any run, where a download button makes its file.

    What it gives raises as `current` does.
    """
    if not sign_in_required():
        return lambda: LOCAL
    return partial(_look_up, cookie(), st.context.ip_address or "")


def _look_up(brought: str | None, address: str) -> Person:

    signed = sign_ins.signed_in(brought, address=address, now=datetime.now(UTC))
    if signed.must_change:
        raise SignedOut("Choose a password of your own first: open the sign-in page.")
    return signed.person


def cookie() -> str | None:
    """The cookie of the sign-in that this browser brought along; None where it brought none."""

    return st.context.cookies.to_dict().get(sign_ins.COOKIE)


def still_there() -> None:
    """The person of the running script has just done something: the idle time starts anew.

    Raises:
        DatabaseError: it cannot be kept.
    """
    if sign_in_required():
        from utils import sign_ins

        sign_ins.touch(cookie(), now=datetime.now(UTC))
