"""Signal as phones speak it: X3DH, the double ratchet, sender keys (signal.org/docs), in libsignal's wire format v3."""
