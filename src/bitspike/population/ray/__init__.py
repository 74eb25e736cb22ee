"""Turns of a population in processes of a Ray cluster (extra `ray`).

`cluster` is the command's side: it starts a process, the `driver`, which joins a cluster or starts one on this machine,
hands turns to actors (`actors`) and publishes what they bring in the run folder, as the local engine's workers do. So
the folder, the log, the replay and what a kill leaves are those of the local engine, and machines need share no disk.
`isolation` keeps Ray's sockets off the network; `scheduled` runs the same members under Ray Tune's own scheduler.
"""
