"""`make bench`: the figures of the design, each beside its floor measured in the same run.

The floor is a bare script on the same Baileys (`floor.mjs`): one process, the same accounts, keys in SQLite outside its
heap. Figures are shown as ratios, because machines differ and drift; nothing here is asserted by a test.
"""
