"""PD behind mutual TLS on loopback, with certificates made here: who is spoken to, and as whom."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from actions import calls
from bootstrap.production import pd_reader, pd_writer
from infra.settings import ConfigError, Settings, parse
from pdsim.http import Served, serve
from pdsim.model import Cluster
from schemas.facts import NoFacts

pytestmark = pytest.mark.contract
START = 1_800_000_000.0
EVICT = calls.add_evict_leader(4)
HERE = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@dataclass
class Authority:
    """Signs certificates into directories as `tls_read` and `tls_write` name them."""

    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._certificate(self.name, self.key.public_key(), is_authority=True)

    def directory(self, at: Path, name: str, *, address: x509.GeneralName = HERE, days: int = 1) -> Path:
        """A key, its certificate by this authority, and the authority's own as the one to trust."""
        key = ec.generate_private_key(ec.SECP256R1())
        at.mkdir()
        (at / "ca.pem").write_bytes(_pem(self.certificate))
        (at / "cert.pem").write_bytes(_pem(self._certificate(name, key.public_key(), address=address, days=days)))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (at / "key.pem").write_bytes(private)
        return at

    def _certificate(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        address: x509.GeneralName = HERE,
        days: int = 1,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


OURS, OTHERS = Authority("ours"), Authority("others")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[[Path], Served]]:
    """Serves with this directory of certificates, to the end of the case."""
    running: list[Served] = []

    def start(tls: Path) -> Served:
        running.append(serve(Cluster.healthy(stores=4, regions=12, now=START), clock=lambda: START, tls=tls))
        return running[-1]

    yield start
    for served in running:
        served.stop()


def settings(served: Served, url: str = "", **tls: Path) -> Settings:
    cluster: dict[str, Any] = {
        "alert_labels": {"env": "prod"},
        "pd": [url or served.url],
        "pd_cluster_id": served.cluster.id,
        **{name: f"dir:{path}" for name, path in tls.items()},
    }
    return parse({"environment": "test", "clusters": {"prod": cluster}})


async def refused(given: Settings) -> str:
    """Why nothing is read over these certificates; and nothing can be written."""
    with pytest.raises(NoFacts) as none:
        await pd_reader(given).facts("prod")
    assert none.value.code == "pd_unreachable"
    with pytest.raises(NoFacts):
        await pd_writer(given)("prod", frozenset({EVICT.name})).cluster_id()
    return none.value.text


async def test_pd_is_read_and_written_to_with_certificates_of_its_own_each(
    serving: Callable[[Path], Served], tmp_path: Path
) -> None:
    served = serving(OURS.directory(tmp_path / "pd", "pd-0"))
    given = settings(
        served,
        tls_read=OURS.directory(tmp_path / "read", "steward-read"),
        tls_write=OURS.directory(tmp_path / "write", "steward-write"),
    )
    assert served.url.startswith("https://")
    assert (await pd_reader(given).facts("prod")).pd_cluster_id == served.cluster.id
    writer = pd_writer(given)("prod", frozenset({EVICT.name}))
    assert await writer.cluster_id() == served.cluster.id
    assert (await writer.send(EVICT, caller_id="steward/R-1/1.1", within_s=5)).answer == "accepted"
    assert served.do(lambda c: {call.caller_id for call in c.calls}) == {"steward/read", "steward/R-1/1.1"}
    assert served.do(lambda c: list(c.schedulers.evicted)) == [4]


async def test_a_pd_of_another_authority_is_told_nothing(serving: Callable[[Path], Served], tmp_path: Path) -> None:
    served = serving(OTHERS.directory(tmp_path / "pd", "pd-0"))
    mine = OURS.directory(tmp_path / "mine", "steward")
    assert "CERTIFICATE_VERIFY_FAILED" in await refused(settings(served, tls_read=mine, tls_write=mine))
    assert served.do(lambda c: c.calls) == []


async def test_a_pd_at_another_address_than_its_certificate_names_is_told_nothing(
    serving: Callable[[Path], Served], tmp_path: Path
) -> None:
    elsewhere = x509.IPAddress(ipaddress.ip_address("10.0.0.7"))
    served = serving(OURS.directory(tmp_path / "pd", "pd-0", address=elsewhere))
    mine = OURS.directory(tmp_path / "mine", "steward")
    assert "IP address mismatch" in await refused(settings(served, tls_read=mine, tls_write=mine))
    assert served.do(lambda c: c.calls) == []


async def test_a_certificate_of_pd_that_has_expired_is_not_accepted(
    serving: Callable[[Path], Served], tmp_path: Path
) -> None:
    served = serving(OURS.directory(tmp_path / "pd", "pd-0", days=-1))
    mine = OURS.directory(tmp_path / "mine", "steward")
    assert "certificate has expired" in await refused(settings(served, tls_read=mine, tls_write=mine))


async def test_without_a_certificate_or_with_one_that_pd_does_not_know_nothing_is_read_or_written(
    serving: Callable[[Path], Served], tmp_path: Path
) -> None:
    served = serving(OURS.directory(tmp_path / "pd", "pd-0"))
    trusting = OURS.directory(tmp_path / "trusting", "x")
    (trusting / "cert.pem").unlink()
    strange = OTHERS.directory(tmp_path / "strange", "steward")
    (strange / "ca.pem").write_bytes(_pem(OURS.certificate))
    for mine in (trusting, strange):
        await refused(settings(served, tls_read=mine, tls_write=mine))
    assert served.do(lambda c: c.calls) == []


async def test_a_pd_that_asks_for_tls_is_not_read_in_plain_http(
    serving: Callable[[Path], Served], tmp_path: Path
) -> None:
    served = serving(OURS.directory(tmp_path / "pd", "pd-0"))
    await refused(settings(served, url=served.url.replace("https", "http")))


@pytest.mark.parametrize("missing", ["ca.pem", "key.pem"])
def test_half_of_a_directory_is_an_error_of_the_configuration(tmp_path: Path, missing: str) -> None:
    mine = OURS.directory(tmp_path / "mine", "steward")
    (mine / missing).unlink()
    given = parse(
        {
            "environment": "test",
            "clusters": {
                "prod": {
                    "alert_labels": {"env": "prod"},
                    "pd": ["https://127.0.0.1:1"],
                    "pd_cluster_id": 7,
                    "tls_read": f"dir:{mine}",
                    "tls_write": f"dir:{mine}",
                }
            },
        }
    )
    for make, field in ((pd_reader, "tls_read"), (pd_writer, "tls_write")):
        with pytest.raises(ConfigError, match=rf"clusters\.prod\.{field}.*no usable certificates"):
            make(given)
