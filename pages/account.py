"""Account: who is signed in here, what that permits, the password, the way out."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from utils import look, people, session, sign_ins
from utils.database import DatabaseError
from utils.decisions import ASSISTS
from utils.permissions import PERMITTED, Action, Role, SignedOut

screen = session.enter("Account", None)

ENDED = "account-ended"


def main() -> None:
    st.html(look.STYLE)
    st.title("Account")
    person = screen.person
    if person.account is None:
        st.info("Nobody has to sign in on this computer.", icon=":material/lock_open:")
        st.caption(ASSISTS)
        return
    st.markdown(f"Signed in as **{look.plain(person.title)}**, account {look.plain(person.name)}.")
    st.table(
        [
            {
                "Role": role.value,
                "What it permits": ", ".join(each.value for each in Action if each in actions),
            }
            for role, actions in PERMITTED.items()
            if role in person.roles
        ],
        hide_index=True,
        border="horizontal",
    )
    ways_out()
    st.caption(ASSISTS)


def ways_out() -> None:
    """To the pages outside of the screens, which alone can change a cookie."""
    try:
        signed = sign_ins.signed_in(people.cookie(), address=screen.person.address, now=datetime.now(UTC))
    except (SignedOut, DatabaseError) as error:
        st.error(str(error), icon=":material/error:")
        return
    change = "" if signed.openid else '<a href="sign-in/password">Change password</a> · '
    st.html(f'<p class="pneu">{change}<a href="sign-out">Sign out</a></p>')
    st.button(
        "Sign out everywhere else",
        icon=":material/logout:",
        on_click=end_others,
        help="Ends the sign-ins of this account in all other browsers.",
    )
    if (ended := st.session_state.pop(ENDED, None)) is not None:
        st.success(f"Other sign-ins ended: {ended}.", icon=":material/check:")
    if Role.ADMIN in screen.person.roles:
        st.caption("Roles of others are given under Administration.")


def end_others() -> None:
    try:
        st.session_state[ENDED] = sign_ins.sign_out_elsewhere(people.current(), people.cookie())
    except session.REFUSALS as error:
        st.error(str(error), icon=":material/error:")


main()
