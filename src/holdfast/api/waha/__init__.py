"""WAHA's REST API: its paths, shapes and error bodies (OpenAPI 2026.9.2), over Holdfast's gateway."""
