"""Orders, states and replies as bytes in Flower's records: a tree in JSON, then tensors in safetensors; no pickle.

8 bytes   length n of the tree, little-endian
n bytes   the tree (`run.checkpoint.pack`)
the rest  tensors by where they stand in the tree
"""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor

from bitspike.errors import HARM
from bitspike.federated.messages import Message, Order, Refused
from bitspike.run.checkpoint import pack, unpack

RECORD = "bitspike"


def packed(value: Any) -> bytes:
    """Nested dicts, lists, numbers and tensors as bytes."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    tree = json.dumps(pack(value, "", tensors)).encode()
    rest = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
    return len(tree).to_bytes(8, "little") + tree + rest


def unpacked(data: object) -> Any:
    """What `packed` was given; `Refused` of bytes that are nothing of the kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if not isinstance(data, bytes):
            raise TypeError("no bytes")
        end = 8 + int.from_bytes(data[:8], "little")
        if end > len(data):
            raise ValueError("cut short")
        return unpack(json.loads(data[8:end]), load(data[end:]))
    except (*HARM, RecursionError, SafetensorError) as error:
        raise Refused("form", f"bytes that hold no message ({type(error).__name__})") from None


def order_of(content: Any) -> Order:
    """An order from `vars(order)` as it came."""
    names = ("round", "recipe_hash", "roles", "fixed", "controls", "taken")
    return Order(*(content[name] for name in names))


def message_of(content: Any, client: int) -> Message:
    """A reply from the fields of `Message` as they came from a client whose key says who it is."""
    names = ("round", "client", "examples", "recipe_hash", "parts", "metrics", "digest")
    if not isinstance(content, dict) or set(content) != set(names):
        raise Refused("form", "not the fields of a reply")
    if content["client"] != client:
        raise Refused("client", "another number than its key says")
    if not isinstance(content["digest"], str) or not content["digest"]:
        raise Refused("digest", "none")
    return Message(**content)
