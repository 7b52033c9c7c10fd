"""The benchmarks run and say what they measured. How fast anything is, is judged by people who read the table."""

import json

import pytest

from benchmarks.__main__ import main


@pytest.mark.kafka
def test_a_row_is_a_ratio_to_the_raw_client_with_its_aim(
    kafka: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    assert main(["--rows", "storm", "--quick", "--json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert (row["name"], row["unit"], row["aim"], row["better"]) == ("storm", "alerts/s", 0.5, "higher")
    assert row["raw"] > 0
    assert row["ours"] > 0
    assert row["ratio"] == pytest.approx(row["ours"] / row["raw"], abs=0.001)
    assert row["met"] == (row["ratio"] >= 0.5)
    for column in ("row", "measured", "raw", "ours", "ratio", "aim", "met", "--quick"):
        assert column in said.err


def test_help_names_the_rows_and_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in ("storm", "latency", "lanes", "turns", "restore", "example:", "--quick", "--json"):
        assert word in said


def test_an_unknown_row_is_named_and_the_known_ones_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--rows", "strom"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "strom" in said
    assert "storm" in said
