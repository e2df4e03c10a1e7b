"""Makes the sandbox's certificate authority and the API's certificate.

    python certificates.py DIRECTORY ADDRESS

Writes `ca.pem`, `server.pem` (the certificate, then the authority's) and `server.key` (0600). The
authority's own key is dropped when the server's certificate is signed, so nothing else can ever be signed
by it: whoever trusts `ca.pem` trusts one certificate for one loopback address.
"""

import datetime
import ipaddress
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=365)


def builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """What both certificates share."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(name[0])
        .issuer_name(name[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def usage(**uses: bool) -> x509.KeyUsage:
    """A KeyUsage with these uses and no others."""
    every = ('digital_signature', 'content_commitment', 'key_encipherment', 'data_encipherment',
             'key_agreement', 'key_cert_sign', 'crl_sign', 'encipher_only', 'decipher_only')
    return x509.KeyUsage(**{name: uses.get(name, False) for name in every})


def main(directory: str, address: str) -> None:
    ca_name = f'Sandboxed Proxmox VE on {address}'
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = (
        builder(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        builder(address, ca_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {'ca.pem': ca.public_bytes(pem), 'server.pem': server.public_bytes(pem) + ca.public_bytes(pem),
             'server.key': secret}
    for name, content in files.items():
        with os.fdopen(os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT, 0o600), 'wb') as out:
            out.write(content)


main(sys.argv[1], sys.argv[2])
