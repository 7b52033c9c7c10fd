"""The demo may act over a broker that forgets: so it must be impossible to point it at anybody's cluster."""

from pathlib import Path

import pytest

from demo import stack
from infra.settings import parse

pytestmark = pytest.mark.local


def test_nothing_outside_says_where_the_demo_acts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEWARD_CLUSTERS__DEMO-1__PD", "http://production:2379")
    monkeypatch.setenv("STEWARD_KAFKA__BOOTSTRAP", "production:9092")
    monkeypatch.setenv("STEWARD_CONFIG", str(tmp_path / "steward.toml"))
    (tmp_path / "steward.toml").write_text('environment = "prod"\n')

    settings = parse(stack.configuration(tmp_path, 7, "http://127.0.0.1:1", "127.0.0.1:2"))

    assert settings.environment == "demo"
    assert [c.pd for c in settings.clusters.values()] == [("http://127.0.0.1:1",)]
    assert "production" not in repr(settings)


def test_each_start_makes_credentials_of_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for directory in (one, other):
        directory.mkdir()
        stack.configuration(directory, 7, "http://127.0.0.1:1", "127.0.0.1:2")
    for name in ("token", "gateway-token", "console-key.json"):
        assert (one / name).read_text() != (other / name).read_text()
        assert (one / name).stat().st_mode & 0o077 == 0
