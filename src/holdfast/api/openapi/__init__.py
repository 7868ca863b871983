"""What the API's description says beyond what the framework reads from the handlers."""
