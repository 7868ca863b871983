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
        schemas = openapi_schema.get("components", {}).get("schemas", {})
        return (
            templates.get_template("docs.html")
            .render(groups=groups, info=openapi_schema["info"], body_of=lambda operation: _body(operation, schemas))
            .encode()
        )


def _body(operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    """An example of the request body, from its schema's field names."""
    content: dict[str, dict[str, Any]] = operation.get("requestBody", {}).get("content", {})
    reference = next((media.get("schema", {}).get("$ref", "") for media in content.values()), "")
    schema = schemas.get(reference.rpartition("/")[2], {})
    fields = {name: _example(field) for name, field in schema.get("properties", {}).items()}
    return html.unescape(json.dumps(fields, indent=2)) if fields else ""


def _example(field: dict[str, Any]) -> Any:
    if "default" in field and field["default"] is not None:
        return field["default"]
    return _EXAMPLES.get(str(field.get("type")))


_EXAMPLES: dict[str, Any] = {"string": "…", "integer": 0, "number": 0, "boolean": True, "array": [], "object": {}}
