"""The API's documentation as one page of our own, so that it works without a content network."""

from __future__ import annotations

import html
import json
from typing import Any

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

from holdfast.web.render import templates


class DocsPage(OpenAPIRenderPlugin):
    """Renders `/docs`."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """See the base class."""
        del request
        operations = [
            {"method": method.upper(), "path": path, **facts}
            for path, methods in openapi_schema["paths"].items()
            for method, facts in methods.items()
            if isinstance(facts, dict) and "responses" in facts
        ]
        groups: dict[str, list[dict[str, Any]]] = {}
        for operation in operations:
            groups.setdefault((operation.get("tags") or ["Other"])[0], []).append(operation)
        return (
            templates.get_template("docs.html")
            .render(groups=groups, info=openapi_schema["info"], body_of=_body)
            .encode()
        )


def _body(operation: dict[str, Any]) -> str:
    """Return the example of the request body as JSON, or an empty string."""
    content: dict[str, dict[str, Any]] = operation.get("requestBody", {}).get("content", {})
    example = next((media["example"] for media in content.values() if media.get("example")), None)
    return html.unescape(json.dumps(example, indent=2)) if example else ""
