"""The pages for signing in and out: plain HTML without scripts, dark or light as the reader's system is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from utils import passwords
from utils.sign_ins import SignedIn


def sign_in(
    base: str, after: str, *, providers: Sequence[str], problem: str = "", name: str = "", status: int = 200
) -> Response:
    """The form for name and password, with a link for each provider.

    Args:
        base: path under which the app lies, without a slash at its end.
        after: path to go to, below `base`.
        providers: names of OpenID Connect providers; ``default`` for the only one.
        problem: what went wrong, one sentence.
        name: as it was typed.
        status: of the answer.
    """
    elsewhere = "".join(
        f'<a class="button" href="{base}/sign-in/openid?provider={quote(provider)}">Sign in with '
        f"{'your organisation' if provider == 'default' else escape(provider.capitalize())}</a>"
        for provider in providers
    )
    return page(
        "Sign in",
        f"{_problem(problem)}"
        f'<form method="post" action="{base}/sign-in">'
        f'<input type="hidden" name="next" value="{escape(base + after)}">'
        + _field("name", "Name", value=name, autocomplete="username", focus=not name)
        + _field("password", "Password", kind="password", autocomplete="current-password", focus=bool(name))
        + f"<button>Sign in</button></form>{elsewhere}",
        status=status,
    )


def first(base: str, *, problem: str = "", name: str, title: str = "") -> Response:
    """The form of the first start, for whoever reads the server's log."""
    return page(
        "First start",
        "<p>There is no account yet. The first one is an administrator's. The code stands in the log of the server.</p>"
        f'{_problem(problem)}<form method="post" action="{base}/sign-in">'
        + _field("code", "Code from the server's log", autocomplete="off", focus=True)
        + _field("name", "Name to sign in with", value=name, autocomplete="username")
        + _field("title", "Your name, as others see it", value=title, autocomplete="name", required=False)
        + _new_fields()
        + "<button>Make the account</button></form>",
    )


def password(base: str, signed: SignedIn, *, problem: str = "") -> Response:
    """The form for another password."""
    first = (
        "<p>The password you were given holds once: choose one of your own.</p>" if signed.must_change else ""
    )
    back = f'<p><a href="{base}/sign-out">Sign out</a>' + (
        "</p>" if signed.must_change else f' · <a href="{base}/">Back</a></p>'
    )
    return page(
        "Change password",
        f"<p>Signed in as <strong>{escape(signed.person.title)}</strong>.</p>{first}{_problem(problem)}"
        f'<form method="post"><input type="hidden" name="name" autocomplete="username" '
        f'value="{escape(signed.person.name)}">'
        + _field(
            "password", "Password until now", kind="password", autocomplete="current-password", focus=True
        )
        + _new_fields()
        + f"<button>Change password</button></form>{back}",
    )


def _new_fields() -> str:
    return (
        _field("new", "New password", kind="password", autocomplete="new-password")
        + _field("again", "The same once more", kind="password", autocomplete="new-password")
        + f"<p>{passwords.SHORTEST} characters or more. Several words are easy to keep.</p>"
    )


def _field(
    name: str,
    label: str,
    *,
    kind: str = "text",
    value: str = "",
    autocomplete: str,
    focus: bool = False,
    required: bool = True,
) -> str:
    return (
        f'<label>{escape(label)}<input name="{name}" type="{kind}" value="{escape(value[:200])}" maxlength="200" '
        f'autocomplete="{autocomplete}" autocapitalize="none" spellcheck="false"'
        f"{' required' if required else ''}{' autofocus' if focus else ''}></label>"
    )


def _problem(sentence: str) -> str:
    """A sentence that stands out; nothing for none."""
    return f'<p class="problem" role="alert">{escape(sentence)}</p>' if sentence else ""


def refusal(title: str, sentence: str, *, status: int = 200) -> Response:
    """A page that only says why not."""
    return page(title, _problem(sentence), status=status)


def page(title: str, body: str, *, status: int = 200) -> Response:
    """A whole page around a body of HTML, in which all that comes from outside has been escaped."""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · Pneumoscope</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="dark light"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body><main>{_MARK}<h1>{escape(title)}</h1>{body}"
        "<footer>Pneumoscope assists in reading chest X-rays; a professional gives the verdict.</footer>"
        "</main></body></html>",
        status_code=status,
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
            "base-uri 'none'; frame-ancestors 'none'",
        },
    )


_MARK = (
    '<div class="mark"><svg aria-hidden="true" viewBox="0 0 32 32" width="28" height="28">'
    '<path d="M14 6v9c-2-3-5-4-7 0-2 4-2 9-1 11 3 1 8-1 8-5zM18 6v9c2-3 5-4 7 0 2 4 2 9 1 11-3 1-8-1-8-5z" '
    'fill="currentColor"/></svg>Pneumoscope</div>'
)
# The colours of .streamlit/config.toml; the reader's system decides between dark and light.
_STYLE = """
:root { color-scheme: dark; --ground: #090b0e; --card: #12161c; --text: #e6e9ee; --quiet: #9aa3af; --line: #2d3440;
  --accent: #2c80cb; --link: #56b4e9; --problem: #ffb4a8; }
@media (prefers-color-scheme: light) { :root { color-scheme: light; --ground: #f1f4f8; --card: #fff; --text: #1a1f27;
  --quiet: #5a6472; --line: #ccd3dc; --accent: #0072b2; --link: #0072b2; --problem: #a32015; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--ground);
  color: var(--text); font: 1rem/1.5 "Source Sans", "Source Sans 3", system-ui, sans-serif; }
main { width: 100%; max-width: 26rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .375rem; padding: 1.75rem; }
.mark { display: flex; gap: .6rem; align-items: center; color: var(--link); font-weight: 600; }
h1 { font-size: 1.5rem; margin: 1rem 0 .75rem; }
p { margin: .5rem 0 1rem; color: var(--quiet); }
p strong { color: var(--text); }
a { color: var(--link); }
label { display: block; margin: 0 0 .9rem; font-size: .9rem; }
input { display: block; width: 100%; margin-top: .25rem; padding: .55rem .7rem; font: inherit; font-size: 1rem;
  color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: .375rem; }
button, .button { display: block; width: 100%; padding: .6rem; font: inherit; font-weight: 600; text-align: center;
  border: 1px solid var(--accent); border-radius: .375rem; background: var(--accent); color: #fff; cursor: pointer;
  text-decoration: none; }
.button { margin-top: .75rem; background: none; color: var(--text); border-color: var(--line); }
input:focus-visible, button:focus-visible, a:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.problem { color: var(--problem); border: 1px solid currentColor; border-radius: .375rem; padding: .5rem .7rem; }
.problem::before { content: "✕ "; }
footer { margin-top: 1.5rem; font-size: .85rem; color: var(--quiet); }
"""
