"""Federations by Flower (extra `flower`): its apps around the same core, in simulation and between machines.

`apps` wraps `client.Client` as a ClientApp, `engine` asks over a Grid and hands what comes to `server.Server`.
`simulation` runs both in Flower's simulation (Ray). Between machines the server is Flower's Fleet API in this process
(`superlink`), and a client its other end (`supernode`): TLS, requests signed by the client's key, no other socket, and
no code that travels. `keys` and `bundle` make what a client needs to join.
"""
