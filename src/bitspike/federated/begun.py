"""Batches that clients are in the middle of, where an exchange lies within an example: encoded once for many slices."""

from __future__ import annotations

from bitspike.run.batches import Batch
from bitspike.run.session import Session

MOST = 1 << 26  # bytes


class Begun:
    """Of each client its last batch; those that were used last, of `MOST` bytes in all."""

    def __init__(self) -> None:
        self.batches: dict[int, tuple[tuple[int, int, int], Batch]] = {}
        self.bytes = 0

    def get(self, named: tuple[int, int, int], session: Session) -> Batch:
        """Of (client, epoch, number), both from 0, as the session that the client is in encodes it."""
        client, epoch, number = named
        kept = self.batches.pop(client, None)
        if kept is not None and kept[0] == named:
            self.batches[client] = kept
            return kept[1]
        if kept is not None:
            self.bytes -= _bytes(kept[1])
        batch = session.train.batch(epoch + 1, number, session.key)
        self.batches[client] = named, batch
        self.bytes += _bytes(batch)
        while self.bytes > MOST:
            _, oldest = self.batches.pop(next(iter(self.batches)))
            self.bytes -= _bytes(oldest)
        return batch


def _bytes(batch: Batch) -> int:
    return batch.events.untyped_storage().nbytes()
