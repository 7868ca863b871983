"""The dashboard: server-made pages, htmx and one event stream; no build step.

`static/htmx.min.js` is htmx 2.0.11 as published (Zero-Clause BSD).
"""
