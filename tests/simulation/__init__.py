"""A deterministic simulation: several instances, their store and WhatsApp in one process, under virtual time.

The real `domain/`, `runtime/` and `store/` run; what is below the ports (network, sidecars, WhatsApp) is played here.
All chance comes from one seed, so a seed that fails is replayed exactly: `python -m tests.simulation SEED` prints its
trace.

Rooms: `loop` (processes that can be paused and killed inside one event loop), `database` (the inline store, with
triggers that watch every write, and each instance's faulty link to it), `whatsapp` (WhatsApp and the sidecars), `watch`
(the invariants), `instances` (processes that start, stop and die), `faults` and `users` (what the seed does to them),
`world` (puts them together).
"""
