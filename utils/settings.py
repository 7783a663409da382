"""The settings of one installation, read from environment variables with the prefix ``PNEUMOSCOPE_``.

Where the server listens, the upload limit and the theme are Streamlit's own settings: see
``.streamlit/config.toml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from utils.permissions import Role

PREFIX = "PNEUMOSCOPE_"
PROJECT = Path(__file__).resolve().parent.parent


class SettingsError(ValueError):
    """A setting cannot be used. The message is one sentence a setting, naming the variable and what to do."""


class OpenIdRule(BaseModel):
    """Who signs in with OpenID Connect and has this claim gets these roles.

    Attributes:
        claim: name of the claim, such as ``email`` or ``groups``; an address counts only where it is verified.
        fits: the claim's value, or one of its values; ``*`` stands for any characters. Case does not count.
        roles: what it gives; the least, a technician's, where nothing is said.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str = Field(min_length=1)
    fits: str = Field(min_length=1)
    roles: tuple[Role, ...] = Field(default=(Role.TECHNICIAN,), min_length=1)


class SignInSettings(BaseSettings):
    """What decides whether a sign-in is asked for; it holds even where another setting cannot be used."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    sign_in: Literal["auto", "required"] = Field(
        default="auto",
        description="auto: sign-in is asked for unless the server listens to this computer only",
    )


class Settings(SignInSettings):
    """One installation's settings.

    A variable that is set to nothing counts as not set. Paths may start with ``~`` and become absolute: a
    relative one is taken from the current working directory. Nothing is created by reading the settings.
    """

    home: Path = Field(
        default=PROJECT / "var",
        description="folder of all that this installation writes: caches, versions trained on site, logs",
    )
    data: Path | None = Field(
        default=None, description="folder of X-rays with train/ and test/, or with NORMAL/ and PNEUMONIA/"
    )
    data_full_size: Path | None = Field(
        default=None, description="folder of X-rays as published, with NORMAL/ and PNEUMONIA/"
    )
    version: str | None = Field(
        default=None, description="name or folder of the network to use; none: the newest released one"
    )
    database_url: str | None = Field(
        default=None,
        repr=False,  # it may hold a password
        description="postgresql://user:password@host/name, or sqlite:////folder/file; none: a file under home",
    )
    film_key: SecretStr | None = Field(
        default=None,
        description="what kept films are encrypted with, made by `python -m utils.film_store make-key`; several with "
        "commas between them: the first encrypts, all decrypt",
    )
    engine: Literal["auto", "openvino", "keras"] = Field(
        default="auto", description="what runs the network; auto: OpenVINO where it is installed, else Keras"
    )
    precision: Literal["auto", "bf16", "f32"] = Field(
        default="auto", description="number format inside the network; auto: bf16 where the processor has it"
    )
    secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="what signs the cookies of sign-ins, 32 characters or more; none: a key kept under home",
    )
    admin_password: SecretStr | None = Field(
        default=None,
        description="password of the first account, admin; none: a code in the server's log makes it",
    )
    openid_roles: Annotated[tuple[OpenIdRule, ...], NoDecode] = Field(
        default=(),
        description="JSON list of rules that give roles to those who sign in with OpenID Connect, such as "
        '[{"claim": "groups", "fits": "radiology", "roles": ["clinician"]}]; who fits none may not enter',
    )

    @field_validator("home", "data", "data_full_size")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        try:
            return path.expanduser().absolute()
        except RuntimeError as error:  # "~nobody": pathlib's way to say that there is no such user
            raise ValueError("the home directory after '~' is not known, write the whole path") from error

    @field_validator("home")
    @classmethod
    def _is_no_file(cls, path: Path) -> Path:
        # A missing folder is made when something is first written.
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, name a folder that may be written to")
        return path

    @field_validator("data", "data_full_size")
    @classmethod
    def _is_folder(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_dir():
            raise ValueError(f"there is no folder {path}, name one that exists or leave the variable unset")
        return path

    @field_validator("openid_roles", mode="before")
    @classmethod
    def _is_list_of_rules(cls, rules: object) -> object:
        if not isinstance(rules, str):
            return rules
        example = '[{"claim": "groups", "fits": "radiology", "roles": ["clinician"]}]'
        try:
            return TypeAdapter(tuple[OpenIdRule, ...]).validate_json(rules)
        except ValidationError as error:
            raise ValueError(f"write it as {example}") from error

    @field_validator("database_url")
    @classmethod
    def _is_known_database(cls, url: str | None) -> str | None:
        # The messages quote nothing of it: it may hold a password.
        if url is None:
            return None
        try:
            parts = make_url(url)
        except (ArgumentError, ValueError):
            raise ValueError("write it as postgresql://user:password@host/name") from None
        if parts.drivername == "sqlite" and parts.database in {None, "", ":memory:"}:
            raise ValueError("name the file, as in sqlite:////folder/file")
        if parts.drivername not in {"sqlite", "postgres", "postgresql", "postgresql+psycopg"}:
            raise ValueError("the program knows sqlite:// and postgresql://")
        return url

    @property
    def cache(self) -> Path:
        """Folder of what can be made again at any time, such as converted networks."""
        return self.home / "cache"

    @property
    def versions(self) -> Path:
        """Folder of the versions trained on this site."""
        return self.home / "versions"


def get_settings() -> Settings:
    """Read the settings anew from the environment.

    Raises:
        SettingsError: a variable has a value that cannot be used.
    """
    return _read(Settings)


def get_sign_in_settings() -> SignInSettings:
    """As `get_settings`, whatever the other variables say."""
    return _read(SignInSettings)


_Kind = TypeVar("_Kind", bound=SignInSettings)


def _read(kind: type[_Kind]) -> _Kind:
    try:
        return kind()
    except ValidationError as error:
        raise SettingsError(" ".join(_sentence(detail) for detail in error.errors())) from error


def _sentence(detail: object) -> str:
    """Turn one of pydantic's error records into a sentence that starts with the variable's name."""
    assert isinstance(detail, dict)
    variable = PREFIX + "_".join(str(part) for part in detail["loc"]).upper()
    if detail["type"] == "literal_error":
        return f"{variable} must be {detail['ctx']['expected']}, not {str(detail['input'])!r}."
    if detail["type"] == "too_short":
        return f"{variable} needs {detail['ctx']['min_length']} characters or more."
    message = detail["msg"].removeprefix("Value error, ")
    return f"{variable} cannot be used: {message}."
