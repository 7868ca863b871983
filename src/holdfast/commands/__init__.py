"""What the command line does: one module per noun; `holdfast.cli` gives them their names."""
