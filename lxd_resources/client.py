"""LXD's REST API for one thread, over a tunnel that may drop: pylxd's transport with deadlines of our own."""

import re
import time
from typing import Any, Self
from urllib.parse import quote, urlparse

from .errors import LxdError, MissingError, RetryError, SilentError, UnreachableError

Json = dict[str, Any]
POLL_SECONDS = 0.5
CONNECT_RETRIES = 2
REQUEST_SECONDS = 60.0
"""Longest time without an answer to one request; a dead tunnel is noticed sooner, by SSH's keepalive."""


_PASSING = r"is busy running|Failed decoding stream JSON|simple streams server .*: file exists"
"""What LXD says of an instance that another operation works on; and of an image server's index, which it keeps in a
file that it writes in place (LXD 5.0, simplestreams): who makes another instance meanwhile reads half of it, or makes
its folder at the same time."""


class Lxd:
    """A connection to the LXD of an endpoint, with one deadline for all that is done with it.

    `project` is the LXD project, None where projects play no part. Errors: LxdError from every method; RetryError from
    `send` and `text`.
    """

    def __init__(self, endpoint: Json, project: str | None, seconds: float) -> None:
        self._endpoint, self._project = endpoint, project
        self.extend(seconds)

    def __enter__(self) -> Self:
        # sshd drops connections at random when many are being opened (MaxStartups).
        for _ in range(CONNECT_RETRIES):
            try:
                self._connect()
            except UnreachableError:
                time.sleep(POLL_SECONDS)
            else:
                return self
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._tunnel.close()

    def extend(self, seconds: float) -> None:
        """Start a new deadline, in `seconds` from now."""
        self._seconds, self._deadline = seconds, time.monotonic() + seconds

    def pause(self, awaited: str, seen: str) -> None:
        """Sleep between two looks. Errors: the deadline has passed."""
        if time.monotonic() + POLL_SECONDS > self._deadline:
            raise LxdError(f"waited {self._seconds:g} s for {awaited}; last seen: {seen}")
        time.sleep(POLL_SECONDS)

    def get(self, *path: str) -> tuple[Json | None, str]:
        """An entity and its ETag; None when there is none."""
        while True:
            try:
                response = self._call("get", path)
                return response.json()["metadata"], response.headers.get("ETag", "")
            except MissingError:
                return None, ""
            except RetryError as again:
                self.pause(f"LXD's answer on {'/'.join(path)}", str(again))

    def all(self, *path: str) -> list[Json]:
        """All entities of a collection. Errors: MissingError."""
        while True:
            try:
                found: list[Json] = self._call("get", path, params={"recursion": "1"}).json()["metadata"]
                return found
            except RetryError as again:
                self.pause(f"LXD's answer on {'/'.join(path)}", str(again))

    def text(self, *path: str, **params: str) -> str:
        """A file or a log. Errors: MissingError."""
        return str(self._call("get", path, params=params, is_api=False).text)

    def owner(self, *path: str, **params: str) -> dict[str, str]:
        """Headers that give a file the owner of this file or folder. Errors: MissingError."""
        headers = self._call("get", path, params=params, is_api=False).headers
        return {name: headers[name] for name in ("X-LXD-uid", "X-LXD-gid")}

    def write(self, text: str, headers: dict[str, str], *path: str, **params: str) -> None:
        """Replace a file. Errors: MissingError, there is no such folder."""
        self._call("post", path, params=params, data=text.encode(), headers={"X-LXD-type": "file", **headers})

    def send(self, method: str, *path: str, body: Json | None = None, etag: str = "") -> Json:
        """Make a change and wait until it is done. Gives the metadata of the operation, {} of a synchronous answer.

        Errors: MissingError; RetryError also when `etag` is no longer the entity's.
        """
        response = self._call(method, path, json=body, headers={"If-Match": etag} if etag else {})
        answer = response.json()
        return self._wait(answer["operation"]) if answer["type"] == "async" else {}

    def _wait(self, operation: str) -> Json:
        id_ = urlparse(operation).path.rpartition("/")[2]
        seen = "nothing yet"
        while True:
            try:
                state = self._call("get", ("operations", id_, "wait"), params={"timeout": "5"}).json()["metadata"]
            except MissingError:
                raise RetryError("its operation vanished") from None
            except RetryError as again:
                seen = str(again)
            else:
                if state["status_code"] == 200:
                    return state.get("metadata") or {}
                if state["status_code"] >= 400:
                    raise _refusal(state.get("err") or state["status"])
                seen = f"{state['description']}: {state['status']}"
            self.pause("LXD's operation", seen)

    def _call(self, method: str, path: tuple[str, ...], **arguments: Any) -> Any:
        import requests  # noqa: PLC0415
        from pylxd import exceptions  # noqa: PLC0415

        node = self._api
        for part in path:
            node = node[quote(part, safe="")]
        left = max(1.0, self._deadline - time.monotonic())
        try:
            return getattr(node, method)(timeout=min(REQUEST_SECONDS, left), **arguments)
        except exceptions.NotFound as error:
            raise MissingError(_line(error)) from None
        except exceptions.LXDAPIException as error:
            if error.response.status_code == 412:
                raise RetryError("somebody else changed it at the same time") from None
            raise _refusal(error) from None
        except requests.RequestException:
            self._reconnect()
            raise RetryError("the connection to LXD dropped") from None

    def _connect(self) -> None:
        import pylxd  # noqa: PLC0415
        import requests  # noqa: PLC0415

        from .transport import Tunnel  # noqa: PLC0415  a preview reaches nothing

        tunnel = Tunnel(self._endpoint)
        try:
            endpoint = f"http+unix://{quote(tunnel.path, safe='')}"
            self._api = pylxd.Client(endpoint, timeout=REQUEST_SECONDS, project=self._project).api
        except (pylxd.exceptions.ClientConnectionFailed, requests.RequestException):
            tunnel.close()
            raise SilentError(f"nothing answers as LXD behind {tunnel.socket}") from None
        except pylxd.exceptions.LXDAPIException as error:
            tunnel.close()
            raise _refusal(error) from None
        self._tunnel = tunnel

    def _reconnect(self) -> None:
        self._tunnel.close()
        while True:
            try:
                return self._connect()
            except UnreachableError as error:
                self.pause("the connection to come back", str(error))


def _refusal(error: object) -> LxdError | RetryError:
    """LXD's own words, or that it passes: see `_PASSING`."""
    line = _line(error)
    return RetryError(line) if re.search(_PASSING, line) else LxdError(line)


def _line(error: object) -> str:
    return " ".join(str(error).split())
