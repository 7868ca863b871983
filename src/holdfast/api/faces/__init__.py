"""The paths of the programs that Holdfast takes the place of: other shapes for the same calls, and no rules."""
