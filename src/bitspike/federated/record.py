"""federation.json: what a federation was, its rounds, and what it sent."""

from __future__ import annotations

from statistics import median
from typing import Any

from bitspike.federated.server import Server


def content(server: Server) -> dict[str, Any]:
    """Plain values."""
    part, rows = server.part, server.rows
    spent = {name: sum(row[name] for row in rows) for name in ("bits_up", "bits_down")}
    refused: dict[str, int] = {}
    for row in rows:
        for client in row["refused"]:
            refused[client] = refused.get(client, 0) + row["refused"][client].count("; ") + 1
    sizes = server.sizes
    return {
        "how": {"seed": server.recipe.seed},
        "clients": part.clients,
        "asked": part.asked,
        "shares": {"min": min(sizes), "median": median(sizes), "max": max(sizes)},
        "partition": server.shared_by,
        "aggregator": part.aggregator.kind,
        "codec": part.codec.kind,
        "statistics": part.statistics,
        "learner_state": part.state,
        "temperature_from": "the server's validation examples",
        "settled": server.settled,
        **spent,
        "refused": refused,
        "rounds": rows,
    }
