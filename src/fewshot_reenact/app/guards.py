"""What refuses requests to the page before gradio sees them."""

from typing import Any

from fewshot_reenact.plain_json import read_json

_HERE = ("127.0.0.1", "localhost", "::1")
_MOST = 64 << 20  # bytes of a request in JSON; pictures and videos come otherwise


def is_here(host: str) -> bool:
    """Whether an address is this machine's own, which no other reaches."""
    return host in _HERE


def guard(host: str) -> list[Any]:
    """What refuses requests: those that other sites' pages make, and those that call this machine by another name than
    its own, as a page on the net does whose name was made to lead here. Where the page is served to others, it has
    whatever name. And those that name a file by an address, which gradio would fetch.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    own = [Middleware(OwnPagesOnly), Middleware(NoAddresses)]
    if host not in _HERE:
        return own
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*_HERE, "[::1]", "["], www_redirect=False), *own]


class OwnPagesOnly:
    """Refuses what a page of another site asks for, by the Origin that browsers add to it. Without this an upload from
    there would arrive: CORS only keeps that page from reading the answer. A server in front says X-Forwarded-Host.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            names = (headers.get("host"), headers.get("x-forwarded-host"))
            if origin is not None and origin.partition("://")[2] not in names:
                await PlainTextResponse("this page takes nothing from other sites", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class NoAddresses:
    """Refuses requests in which a file is an address: gradio would fetch it, and the tool opens no network unasked. The
    page itself names uploads by their paths on this machine.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http" or "json" not in Headers(scope=scope).get("content-type", ""):
            await self._app(scope, receive, send)
            return
        body, message = b"", {"more_body": True}
        while message.get("more_body") and len(body) <= _MOST:
            message = await receive()
            body += message.get("body", b"")
        if len(body) > _MOST or names_an_address(body):
            refused = PlainTextResponse("files are uploaded here, not fetched from an address", 400)
            await refused(scope, receive, send)
            return
        given = [{"type": "http.request", "body": body}]

        async def again() -> Any:
            return given.pop() if given else await receive()

        await self._app(scope, again, send)


def names_an_address(body: bytes) -> bool:
    """Whether a request in JSON holds a file, {"path": ...}, whose path is an address. What is no JSON holds none."""
    try:
        waiting = [read_json(body)]
    except ValueError:
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and "://" in path[:16].lower():
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False
