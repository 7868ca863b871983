"""The Baileys engine: supervises Node sidecars, serves their keys, and speaks `ports.engine` to the runtime."""

from __future__ import annotations

from holdfast.engines.baileys.engine import BaileysEngine
from holdfast.engines.baileys.options import BaileysOptions

__all__ = ["BaileysEngine", "BaileysOptions"]
