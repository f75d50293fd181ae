"""Authorities and certificates, good and bad, made in each run."""

import datetime
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates and revocation lists, and writes them to a directory."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(subject, subject, self.key, NOW + 100 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.pem = directory / f"{name}.pem"
        self.pem.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _builder(subject, issuer, key, until):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(NOW - 90 * DAY).not_valid_after(until))  # fmt: skip

    def sign(self, file, common_name, *, server=False, kind="ecdsa", until=None, names=()):
        """A certificate with its key: gives both paths and the certificate. The key is its owner's only."""
        key = ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Voltbaas"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = self._builder(subject, self.certificate.subject, key, until or NOW + 50 * DAY)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        if server:
            others = [x509.DNSName(name) for name in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(others), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        chain, secret = self.directory / f"{file}.pem", self.directory / f"{file}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret.touch(mode=0o600)
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return Certificate(chain, secret, certificate)

    def revoke(self, *certificates):
        """Writes the list of what is revoked, and gives its path."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(NOW - DAY).next_update(NOW + 30 * DAY).add_extension(x509.CRLNumber(1), False)
        for certificate in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.certificate.serial_number).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        path = self.directory / f"{self.name}.crl"
        draft = self.directory / f"{self.name}.crl.new"
        draft.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        draft.replace(path)
        return path


class Certificate:
    def __init__(self, chain, key, certificate):
        self.chain, self.key, self.certificate = chain, key, certificate

    def server(self, clients=None):
        """A server's context; with `clients`, an authority whose certificates it asks for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        if clients:
            context.load_verify_locations(clients.pem)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def client(trusts, shows=None, newest=None, ciphers=None):
    """A client's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trusts.pem)
    if shows:
        context.load_cert_chain(shows.chain, shows.key)
    if newest:
        context.maximum_version = newest
    if ciphers:
        context.set_ciphers(ciphers)
    return context
