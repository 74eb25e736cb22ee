"""How a client's tensors are written for the wire, and read again; see `base` for what a codec is."""

from bitspike.federated.codecs.base import Codec, Setting, codec_of

__all__ = ["Codec", "Setting", "codec_of"]
