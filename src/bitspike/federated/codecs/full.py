"""Every number as it is."""

from __future__ import annotations

from bitspike.federated.codecs.base import Codec


class Full(Codec):
    """32 bits a number."""

    plain = True
