"""The two HTML pages, `/` and `/docs`: self-contained, and closed to anything that is not theirs."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import falcon.asgi

from web.pages import Page, send_page

HTML = "text/html; charset=utf-8"
NONE = "'none'"
DASHBOARD = Path(__file__).with_name("dashboard.html")


class HtmlPage:
    """GET of a page that never changes while the worker runs."""

    def __init__(self, html: str) -> None:
        self._page = Page(html.encode(), HTML)
        self._policy = content_security_policy(html)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The page."""
        resp.set_header("Content-Security-Policy", self._policy)
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.set_header("X-Frame-Options", "DENY")
        resp.set_header("Referrer-Policy", "no-referrer")
        await send_page(req, resp, self._page, compress=True)

    on_head = on_get


def content_security_policy(html: str) -> str:
    """Only the scripts and styles of the page itself, named by their hashes, and only our own API."""
    scripts = " ".join(_hashes(html, "script"))
    styles = " ".join(_hashes(html, "style"))
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {scripts or NONE}",
            f"style-src {styles or NONE}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hashes(html: str, tag: str) -> list[str]:
    return [
        f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        for content in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    ]
