"""`make verify`: every promise and every behaviour shown on real processes against the simulator, one line each."""
