"""What is shipped: production without demo, simulator and tests; the demo as a distribution of its own."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.local

ROOT = Path(__file__).parent.parent
SHIPPED_AS = {"faust-streaming": "faust"}


def wheel_of(source: Path, into: Path) -> set[str]:
    """The names in the wheel that this directory builds, by the locked backend and nothing from outside."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return wheel_of(ROOT, tmp_path_factory.mktemp("production"))


def test_production_ships_no_file_of_the_demo_the_simulator_or_the_tests(production: set[str]) -> None:
    tops = {name.split("/")[0] for name in production if ".dist-info" not in name}
    assert tops == {"schemas", "actions", "streams", "agents", "executors", "infra", "console", "bootstrap"}
    for name in ("infra/local/", "agents/scenarios/", "schemas/generate.py"):
        assert (ROOT / name).exists()
        assert not [shipped for shipped in production if shipped.startswith(name)]


def test_what_production_depends_on_is_what_it_imports() -> None:
    """A dependency that nobody imports is one more that has to be trusted."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=\[ ]", text)[0] for text in declared}
    modules = {name: SHIPPED_AS.get(name, name.replace("-", "_")) for name in names}
    tops = ("schemas", "actions", "streams", "agents", "executors", "infra", "console", "bootstrap")
    source = "\n".join(path.read_text() for top in tops for path in (ROOT / top).rglob("*.py"))
    assert [n for n, m in modules.items() if not re.search(rf"\b(import|from) {m}\b|\"{m}\"", source)] == []


def test_production_ships_what_it_reads_at_run_time(production: set[str]) -> None:
    kept = [
        str(path.relative_to(ROOT))
        for pattern in ("schemas/avro/*/*.avsc", "infra/clickhouse/**/*.sql", "agents/prompts/*")
        for path in ROOT.glob(pattern)
        if path.is_file()
    ]
    assert len(kept) > 60
    assert sorted(set(kept) - production) == []


def test_the_demo_is_a_distribution_of_its_own(tmp_path: Path) -> None:
    names = wheel_of(ROOT / "demo", tmp_path)
    assert {"demo/__main__.py", "demo/alert.json", "pdsim/model.py"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"demo", "pdsim"}
