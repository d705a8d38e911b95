"""HTTP as this package needs it: one host, a token that is never shown, retries where the server asks for them.

Redirects are not followed: the token would go along.
"""

from __future__ import annotations

import datetime
import email.utils
import ipaddress
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.util.request import ACCEPT_ENCODING

from .answers import HttpAnswer
from .errors import UnexpectedAnswerError, UnreachableError, problem_of

# Bytes of an answer that is no stream of rows: lists of tables, problems.
_DOCUMENT_BYTES_MAX: Final = 256 * 1024 * 1024
# A server that asks for no particular pause is asked again after so long.
_PAUSE_SECONDS_MIN: Final = 0.1
_CONNECT_SECONDS: Final = 10.0
_TRY_AGAIN: Final = (429, 503)


class Transport:
    """Sends requests to one server."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout: float,
        retry_seconds: float,
        compress: bool | None,
        ca_file: str | None,
        allow_plaintext: bool,
    ) -> None:
        """Check the address and make a pool of connections to it."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address of a server begins with `https://` or, on this machine, with `http://`")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("the address of a server has neither user nor query: pass the token as `token=`")
        is_local = is_loopback(parts.hostname)
        if token is not None:
            _check_token(token)
            if parts.scheme == "http" and not is_local and not allow_plaintext:
                raise ValueError(
                    "a token would be sent in the clear: use `https://`, or say `allow_plaintext=True` where the "
                    "network itself is private"
                )
        self.base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._token = token
        self._retry_seconds = retry_seconds
        self._coding = ACCEPT_ENCODING if (not is_local if compress is None else compress) else "identity"
        self._pool = urllib3.PoolManager(
            maxsize=8,
            ca_certs=ca_file,
            timeout=urllib3.Timeout(connect=min(_CONNECT_SECONDS, timeout), read=timeout),
            retries=False,
        )

    def __repr__(self) -> str:
        """Name the server, and nothing of the token."""
        return f"<Transport {self.base}>"

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._pool.clear()

    def ask(self, text: str, params: Sequence[Any], limit: int | None, seconds: float | None) -> HttpAnswer:
        """Send a statement; the rows were not read yet."""
        limits = {"rows": limit, "seconds": seconds}
        chosen = {name: value for name, value in limits.items() if value is not None}
        body = {"sql": text, "params": list(params), "limits": chosen}
        headers = {"Content-Type": "application/json", "Accept": "application/vnd.apache.arrow.stream"}
        return HttpAnswer(self._send("POST", "/api/sql", headers, json.dumps(body).encode()))

    def page(self, target: str) -> urllib3.BaseHTTPResponse:
        """Ask for a page of a table as an Arrow stream."""
        return self._send("GET", target, {"Accept": "application/vnd.apache.arrow.stream"}, None)

    def document(self, *path: str) -> Any:
        """Return the JSON at a path of the interface."""
        target = "/api/" + "/".join(quote(part, safe="") for part in path)
        response = self._send("GET", target, {"Accept": "application/json"}, None)
        body = _whole(response)
        try:
            return json.loads(body)
        except ValueError:
            raise UnexpectedAnswerError(f"the server answered `{target}` with something that is no JSON") from None

    def delete(self, *path: str) -> None:
        """Delete what is at a path of the interface."""
        target = "/api/" + "/".join(quote(part, safe="") for part in path)
        _whole(self._send("DELETE", target, {}, None))

    def _send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> urllib3.BaseHTTPResponse:
        # All of it may be sent twice: statements only read, and stopping what was stopped changes nothing.
        left = self._retry_seconds
        while True:
            response = self._once(method, target, headers, body)
            if response.status < 300:
                return response
            if 300 <= response.status < 400:
                response.release_conn()
                raise UnexpectedAnswerError(f"the server sent us on (status {response.status}), which is not followed")
            pause = _pause(response) if response.status in _TRY_AGAIN else None
            error = problem_of(response.status, response.headers.get("Content-Type", ""), _whole(response))
            if pause is None or pause > left:
                raise error
            left -= pause
            time.sleep(pause)

    def _once(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> urllib3.BaseHTTPResponse:
        everything = {"User-Agent": "hambar-python/0.1.0", "Accept-Encoding": self._coding, **headers}
        if self._token is not None:
            everything["Authorization"] = f"Bearer {self._token}"
        try:
            return self._pool.request(
                method, self.base + target, headers=everything, body=body, preload_content=False, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            # The error of the library may show the request: only its kind and its own words are passed on.
            raise UnreachableError(f"{self.base} cannot be reached: {_reason(error)}") from None


def _whole(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        body = response.read(_DOCUMENT_BYTES_MAX + 1)
        if len(body) > _DOCUMENT_BYTES_MAX:
            response.close()
            raise UnexpectedAnswerError(f"the answer has more than {_DOCUMENT_BYTES_MAX} bytes")
        return body
    except urllib3.exceptions.HTTPError as error:
        raise UnreachableError(f"the answer broke off: {_reason(error)}") from None
    finally:
        response.release_conn()


def _pause(response: urllib3.BaseHTTPResponse) -> float | None:
    """Say how long the server asks to wait; nothing where it does not want to be asked again."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return max(float(text), _PAUSE_SECONDS_MIN)
    try:
        instant = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=datetime.timezone.utc)
    seconds = (instant - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    return max(seconds, _PAUSE_SECONDS_MIN)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, Exception) else error)
    # urllib3 puts the object before the words: `<urllib3.connection.HTTPConnection object at 0x…>: Failed …`.
    return text.rsplit(">: ", 1)[-1] or type(error).__name__


def is_loopback(host: str) -> bool:
    """Say whether a name or address stands for this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_token(token: str) -> None:
    if not token or not token.isascii() or any(character.isspace() or not character.isprintable() for character in token):
        raise ValueError("the token is empty or has characters that no token has")
