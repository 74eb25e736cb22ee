"""Keys and certificates of a deployment: an authority for one federation, the server's certificate, a key per client.

The authority's own key is forgotten once it has signed. Private keys lie in files that only their owner may read.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Any

VALID = datetime.timedelta(days=825)


def private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def new_key() -> Any:
    """A key on the curve that Flower's signatures use (P-384)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP384R1())


def pem(key: Any) -> str:
    """A private key as text."""
    from cryptography.hazmat.primitives import serialization as form

    return str(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode())


def public(key: Any) -> str:
    """The public half of a key as text."""
    from cryptography.hazmat.primitives import serialization as form

    return str(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode())


def certificates(names: list[str]) -> tuple[str, str, str]:
    """(authority's certificate, server's certificate, server's private key) for some host names or addresses."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    authority, server = new_key(), new_key()
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bitspike federation")])
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.datetime.now(datetime.UTC)

    def signed(subject: Any, key: Any, extensions: list[tuple[Any, bool]]) -> str:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + VALID)
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        from cryptography.hazmat.primitives import serialization as form

        return str(made.sign(authority, hashes.SHA384()).public_bytes(form.Encoding.PEM).decode())

    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                           "encipher_only", "decipher_only"), False)  # fmt: skip
    issues = x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage)
    serves = x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage)
    known = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    root = signed(issuer, authority, [(x509.BasicConstraints(True, 0), True), (issues, True), (known, False)])
    leaf = signed(own, server, [
        (x509.BasicConstraints(False, None), True), (serves, True),
        (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known), False),
        (x509.SubjectAlternativeName([_name(name) for name in names]), False),
    ])  # fmt: skip
    return root, leaf, pem(server)


def _name(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
