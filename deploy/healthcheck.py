"""The image's health check: ends with 1 unless this container's Holdfast is ready. Needs no API key."""

import os
import sys
import urllib.error
import urllib.request

PORT = os.environ.get("HOLDFAST_PORT") or os.environ.get("PORT") or "3000"

try:
    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/status", timeout=4).close()
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"Holdfast on port {PORT} is not ready: {error}")
