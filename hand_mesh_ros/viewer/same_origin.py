"""Keeps pages of other origins away from the viewer's web socket.

A browser lets every page open a web socket to this machine, and says in `Origin` whose page it is.
viser asks nobody, so any page in any tab could see the hands and use the controls. A name that
points here only now (DNS rebinding) would be an origin of its own, so names are not believed
either.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

_patching = threading.Lock()
FRAME_POLICY = "frame-ancestors 'self'"
"""No other page may show the viewer inside itself, and let its user click there unawares."""


def refusal(headers: Mapping[str, str], host: str) -> str | None:
    """Why a request is not answered; None where it comes from the viewer's own page.

    Args:
        headers: of the request, by any capitalisation that `headers.get` understands.
        host: address that the viewer listens on.
    """
    asked = headers.get("Host", "")
    name = urlsplit(f"//{asked}").hostname or ""
    if not _is_ours(name, host):
        return f"this page is not called {name!r}; use its address"
    origin = headers.get("Origin")
    if origin is None:  # no browser: those always say it when they open a web socket
        return None
    if urlsplit(origin).netloc.lower() != asked.lower():
        return f"pages of {origin} have no access"
    return None


def _is_ours(name: str, host: str) -> bool:
    here = socket.gethostname().lower()
    if name in ("localhost", host.lower(), here, f"{here}.local"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True  # an address is the same for everybody


@contextlib.contextmanager
def own_pages_only(host: str) -> Iterator[None]:
    """Let a viser server that is made meanwhile refuse what `refusal` refuses.

    Raises:
        RuntimeError: this viser starts its server in another way, so that nothing would be refused.
    """
    from websockets.asyncio import server

    original, guarded = server.serve, []

    def serve(*args: Any, process_request: Any = None, **kwargs: Any) -> Any:
        guarded.append(True)

        def process(connection: Any, request: Any) -> Any:
            reason = refusal(request.headers, host)
            if reason is not None:
                return connection.respond(403, f"{reason}\n")
            response = None if process_request is None else process_request(connection, request)
            if response is not None:
                response.headers["Content-Security-Policy"] = FRAME_POLICY
            return response

        return original(*args, process_request=process, **kwargs)

    with _patching:
        server.serve = serve  # type: ignore[assignment]  # viser takes no such option
        try:
            yield
        finally:
            server.serve = original
    if not guarded:
        raise RuntimeError(
            "this version of viser cannot be kept from answering pages of other origins: "
            "pip install -c constraints.txt viser"
        )
