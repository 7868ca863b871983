"""Holdfast: the WhatsApp session gateway that does not lose sessions."""

__version__ = "0.1.0"
