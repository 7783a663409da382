"""People: the accounts, their roles, and who is signed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from utils import accounts, choices, look, people, session, sign_ins
from utils.accounts import AccountError, Listed
from utils.permissions import PERMITTED, Action, Role
from utils.session import Screen

NAME, TITLE, ROLES = "people-new-name", "people-new-title", "people-new-roles"
CHOSEN = "people-chosen"
SAID = "people-said"
PROBLEM = "people-problem"
GIVEN = "people-given"
IDLE = "people-idle"


def show(screen: Screen) -> None:
    """The section of Administration."""
    if screen.person.account is None:
        st.info(
            "Nobody has to sign in as long as the server listens to this computer only. Accounts made here hold from "
            "the day on which it can be reached from elsewhere.",
            icon=":material/lock_open:",
        )
    try:
        listed = accounts.list_accounts(who=people.current(), now=datetime.now(UTC))
    except session.REFUSALS as error:
        st.error(str(error), icon=":material/error:")
        return
    said()
    if listed:
        table(listed)
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True):
        st.markdown("#### New account")
        new_account()
    with right, st.container(border=True):
        st.markdown("#### Change an account")
        if listed:
            change_account(listed)
        else:
            st.info("There is no account yet.", icon=":material/info:")
    idle_time()
    with st.expander("What each role permits"):
        st.table(
            [
                {"May": action.value}
                | {role.value: "●" if action in PERMITTED[role] else "–" for role in Role}
                for action in Action
            ],
            hide_index=True,
            border="horizontal",
        )


def said() -> None:
    """What came of the last action."""
    if (problem := st.session_state.pop(PROBLEM, None)) is not None:
        st.error(look.plain(problem), icon=":material/error:")
    if (sentence := st.session_state.pop(SAID, None)) is not None:
        st.success(look.plain(sentence), icon=":material/check:")
    if (given := st.session_state.pop(GIVEN, None)) is not None:
        st.markdown("Hand this password over in person. It is shown once, and holds until the first sign-in.")
        st.code(given, language=None)


def table(listed: list[Listed]) -> None:
    st.table(
        [
            {
                "Name": look.plain(each.name),
                "Seen by others as": look.plain(each.title),
                "Roles": ", ".join(role.value for role in Role if role in each.roles),
                "State": state(each),
            }
            for each in listed
        ],
        hide_index=True,
        border="horizontal",
    )


def state(each: Listed) -> str:
    elsewhere = " (OpenID Connect)" if each.openid else ""
    if not each.active:
        return f"✕ deactivated{elsewhere}"
    if each.locked_until is not None:
        return f"◆ locked until {each.locked_until.astimezone():%H:%M}"
    if each.must_change:
        return "○ new password"
    if each.seen is None:
        return f"○ signed out{elsewhere}"
    where = "" if each.signed_in == 1 else f" in {each.signed_in} browsers"
    return f"● signed in{where}{elsewhere}, last seen {each.seen.astimezone():%H:%M}"


def new_account() -> None:
    st.text_input("Name to sign in with", key=NAME, max_chars=64, placeholder="t.miller")
    st.text_input("Name that others see", key=TITLE, max_chars=100, placeholder="Tina Miller")
    st.multiselect("Roles", list(Role), format_func=lambda role: role.value, key=ROLES)
    st.button("Make the account", type="primary", icon=":material/person_add:", on_click=make)


def make() -> None:
    def act() -> None:
        name = sign_ins.tidy_name(st.session_state[NAME])
        st.session_state[GIVEN] = accounts.add_account(
            name,
            st.session_state[TITLE],
            [Role(role) for role in st.session_state[ROLES]],
            who=people.current(),
            now=datetime.now(UTC),
        )
        st.session_state[SAID] = f"The account {name} is made."
        for key in (NAME, TITLE, ROLES):
            st.session_state.pop(key)

    attempt(act)


def change_account(listed: list[Listed]) -> None:
    by_id = {each.id: each for each in listed}
    if st.session_state.get(CHOSEN) not in by_id:
        st.session_state[CHOSEN] = listed[0].id
    each = by_id[st.selectbox("Account", list(by_id), format_func=lambda key: by_id[key].name, key=CHOSEN)]
    st.text_input("Name that others see", value=each.title, max_chars=100, key=_key(each, "title"))
    st.multiselect(
        "Roles",
        list(Role),
        default=[role for role in Role if role in each.roles],
        format_func=lambda role: role.value,
        key=_key(each, "roles"),
        disabled=each.openid,
        help="They come from the rules for OpenID Connect." if each.openid else None,
    )
    st.toggle("May sign in", value=each.active, key=_key(each, "active"))
    with st.container(horizontal=True):
        st.button("Save", type="primary", icon=":material/check:", on_click=save, args=(each,))
        if each.locked_until is not None:
            st.button("Unlock", icon=":material/lock_open:", on_click=unlock, args=(each,))
        if not each.openid:
            with st.popover("New password", icon=":material/key:"):
                st.markdown(
                    f"Give **{look.plain(each.name)}** a new password that holds once? The old one ends, and so do "
                    "all sign-ins."
                )
                st.button("Give a new password", type="primary", on_click=renew, args=(each,))


def _key(each: Listed, field: str) -> str:
    """Another account, or the same one changed elsewhere, starts with its own values."""
    return f"people-{field}-{each.id}-{accounts.revision_of(each)}"


def idle_time() -> None:
    st.session_state[IDLE] = int(sign_ins.idle_time().total_seconds() // 60)
    st.number_input(
        "Minutes without a touch until somebody is signed out",
        *choices.IDLE_MINUTES,
        step=5,
        key=IDLE,
        on_change=change_idle_time,
        width=380,
        help="Holds for everybody at once. Whatever is chosen, a sign-in ends after "
        f"{sign_ins.LONGEST.seconds // 3600} hours.",
    )


def change_idle_time() -> None:
    def act() -> None:
        minutes = int(st.session_state[IDLE])
        choices.change_choices(who=people.current(), idle_minutes=minutes)
        st.session_state[SAID] = f"Whoever touches nothing for {minutes} minutes is signed out."

    attempt(act)


def save(each: Listed) -> None:
    def act() -> None:
        accounts.change_account(
            each.id,
            title=st.session_state[_key(each, "title")],
            roles=[Role(role) for role in st.session_state[_key(each, "roles")]],
            active=st.session_state[_key(each, "active")],
            who=people.current(),
            revision=accounts.revision_of(each),
        )
        st.session_state[SAID] = f"The account {each.name} is changed."

    attempt(act)


def unlock(each: Listed) -> None:
    def act() -> None:
        accounts.unlock(each.id, who=people.current())
        st.session_state[SAID] = f"{each.name} may sign in again."

    attempt(act)


def renew(each: Listed) -> None:
    def act() -> None:
        st.session_state[GIVEN] = accounts.new_password(each.id, who=people.current())
        st.session_state[SAID] = f"{each.name} has a new password."

    attempt(act)


@session.permitted(Action.MANAGE_ACCOUNTS)
def attempt(act: Callable[[], None]) -> None:
    """Do it, or say why not."""
    try:
        act()
    except (AccountError, *session.REFUSALS) as error:
        st.session_state[PROBLEM] = str(error)
