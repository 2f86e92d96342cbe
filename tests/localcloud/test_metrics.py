"""Metrics out of logs that grow, change under their name, or are damaged."""

from pathlib import Path

from localcloud import logs
from localcloud.metrics import MetricScanner

LOSS = [{"Name": "loss", "Regex": r"loss=(\S+)"}]


def test_the_log_of_an_attempt_after_a_spot_interruption_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for number, lines in enumerate(["loss=0.9\nloss=0.8", "loss=0.7\nstill at work on what comes next\nloss=0.6"]):
        logs.write(tmp_path / f"attempt-{number}", lines)
    log.symlink_to(tmp_path / "attempt-0")
    scanner = MetricScanner(LOSS, [log])
    scanner.scan()
    log.unlink()
    log.symlink_to(tmp_path / "attempt-1")
    scanner.scan()
    assert scanner.history["loss"] == [0.9, 0.8, 0.7, 0.6]


def test_half_a_line_hides_no_other(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    logs.write(log, "loss=0.9")
    with log.open("ab") as file:
        file.write(b'{"t": 17000')  # the disk was full, or the writer was killed
    logs.write(log, "loss=0.8\nloss=0.7")
    assert [event.message for event in logs.read(log)] == ["loss=0.9", "loss=0.8", "loss=0.7"]
    scanner = MetricScanner(LOSS, [log])
    scanner.scan()
    assert scanner.history["loss"] == [0.9, 0.8, 0.7]
