"""Every setting: its environment name, its default, its meaning; read once and passed on."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class SettingError(ValueError):
    """A setting has a value that cannot be used; the message says which, why, and what would do."""


def _number(low: int, high: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        if text.isascii() and text.isdecimal() and low <= int(text) <= high:
            return int(text)
        raise SettingError(f"{name} is {text!r}, but must be a whole number from {low} to {high}.")

    return parse


def _choice(*allowed: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text in allowed:
            return text
        raise SettingError(f"{name} is {text!r}, but must be one of: {', '.join(allowed)}.")

    return parse


def _text(_name: str, text: str) -> str:
    return text


def _url(name: str, text: str) -> str:
    if text.startswith(("http://", "https://")):
        return text.rstrip("/")
    raise SettingError(f"{name} is {text!r}, but must start with http:// or https://.")


def _origins(name: str, text: str) -> str:
    """Return origins as browsers send them, separated by a space."""
    given = text.replace(",", " ").split()
    faults = [f"{each!r} {fault}" for each in given if (fault := _fault_of_origin(each))]
    if "*" in given and len(given) > 1:
        faults.append("'*' allows all, and stands alone")
    if faults or not given:
        reason = faults[0] if faults else "it names none"
        raise SettingError(
            f"{name} is {text!r}, but must be * or origins such as https://app.example.test, separated by "
            f"spaces or commas: {reason}."
        )
    return " ".join(each.lower() for each in given)


def _fault_of_origin(origin: str) -> str:
    """Return what keeps a text from being an origin (RFC 6454, section 6.2), or nothing."""
    scheme, separator, rest = origin.lower().partition("://")
    if origin == "*":
        return ""
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return "does not begin with a scheme such as https://"
    if re.search(r"[/?#]", rest):
        return "goes on after its host and port"
    if "@" in rest:
        return "has a user name"
    if not rest.isascii():
        return "has a host that is not in its ASCII form (xn--)"
    named = re.fullmatch(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", rest)
    if named is None or int(named[1] or 1) > 65_535:
        return "has no host, or not only a host and a port"
    if named[1] and (scheme, int(named[1])) in (("http", 80), ("https", 443)):
        return "names the port of its scheme, which browsers leave out"
    return ""


def _setting(name: str, default: Any, parse: Callable[[str, str], Any], meaning: str) -> Any:
    return field(default=default, metadata={"name": name, "parse": parse, "meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can choose; `docs/settings.md` has a line for each."""

    database: str = _setting(
        "ROLLBOOK_DATABASE",
        "sqlite:///rollbook.db",
        _text,
        "where the register is kept: sqlite:///<path> or postgresql://<user>:<password>@<host>/<database>",
    )
    prepared_statements: str = _setting(
        "ROLLBOOK_PREPARED_STATEMENTS",
        "on",
        _choice("on", "off"),
        "off keeps nothing in a session of PostgreSQL, for poolers of transactions such as pgbouncer",
    )
    host: str = _setting("HOST", "127.0.0.1", _text, "the address to listen on")
    port: int = _setting("PORT", 8000, _number(0, 65535), "the port to listen on; 0 takes a free one")
    public_url: str = _setting(
        "ROLLBOOK_PUBLIC_URL", "", _url, "the base of every link in answers; by default http://<HOST>:<PORT>"
    )
    owner_name: str = _setting(
        "ROLLBOOK_OWNER_NAME", "Owner", _text, "the name of the owner made on an empty database (GET /v1/me)"
    )
    owner_email: str = _setting(
        "ROLLBOOK_OWNER_EMAIL", "owner@example.com", _text, "the e-mail of that owner (GET /v1/me)"
    )
    log_level: str = _setting(
        "ROLLBOOK_LOG_LEVEL", "info", _choice("debug", "info", "warning", "error"), "the least that is logged"
    )
    log_format: str = _setting(
        "ROLLBOOK_LOG_FORMAT",
        "auto",
        _choice("auto", "json", "color", "plain"),
        "how log lines look; auto is colour on a terminal and JSON elsewhere",
    )
    metrics_port: int = _setting(
        "ROLLBOOK_METRICS_PORT", 0, _number(0, 65535), "the port of the Prometheus listener; 0 is off"
    )
    rate_limit: int = _setting(
        "ROLLBOOK_RATE_LIMIT",
        0,
        _number(0, 1_000_000),
        "requests a minute for each token or address; 0 is off",
    )
    cors_origins: str = _setting(
        "ROLLBOOK_CORS_ORIGINS",
        "",
        _origins,
        "origins whose pages may use the API in a browser, separated by spaces or commas; * allows all",
    )
    password_grant: str = _setting(
        "ROLLBOOK_PASSWORD_GRANT",
        "off",
        _choice("on", "off"),
        "on gives tokens for a user's e-mail and password too",
    )
    strict: str = _setting(
        "ROLLBOOK_STRICT",
        "off",
        _choice("on", "off"),
        "on refuses unknown parameters and filters with 400, to find mistakes; off ignores them",
    )
    max_body_bytes: int = _setting(
        "ROLLBOOK_MAX_BODY_BYTES", 1_048_576, _number(1_024, 1 << 30), "the largest request body, in bytes"
    )
    max_header_bytes: int = _setting(
        "ROLLBOOK_MAX_HEADER_BYTES", 32_768, _number(1_024, 1 << 20), "the largest request head, in bytes"
    )
    max_connections: int = _setting(
        "ROLLBOOK_MAX_CONNECTIONS", 4_096, _number(1, 1_000_000), "connections held at once; more are refused"
    )
    max_waiting: int = _setting(
        "ROLLBOOK_MAX_WAITING",
        4_096,
        _number(1, 1_000_000),
        "writes, and reads, that may wait; more answer 503",
    )
    header_seconds: int = _setting(
        "ROLLBOOK_HEADER_SECONDS", 10, _number(1, 3_600), "seconds that a client has to send a request's head"
    )
    body_seconds: int = _setting(
        "ROLLBOOK_BODY_SECONDS", 30, _number(1, 3_600), "seconds that a client has to send a request's body"
    )
    idle_seconds: int = _setting(
        "ROLLBOOK_IDLE_SECONDS", 75, _number(1, 3_600), "seconds that an idle connection is kept open"
    )

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables.

        An empty variable counts as absent. Raises SettingError for a value that cannot be used.
        """
        values = {}
        for each in fields(cls):
            name = each.metadata["name"]
            if text := environ.get(name, ""):
                if any("\ud800" <= letter <= "\udfff" for letter in text):
                    raise SettingError(f"{name} is {text!r}, but must be text in UTF-8.")
                values[each.name] = each.metadata["parse"](name, text)
        return cls(**values)

    def base_url(self, port: int) -> str:
        """Return the public base URL, without a trailing slash, for a server bound to `port`."""
        if self.public_url:
            return self.public_url
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"
