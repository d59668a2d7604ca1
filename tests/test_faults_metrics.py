"""Damaged lines of metrics.jsonl are dropped, and stop no run."""

import json

import pytest

from score_sde.runs.metrics import draw_curve, forget_after, read_metrics

GOOD = {"step": 1, "loss": 2.0, "held_out": 1.0, "held_out_error": 0.5, "look_nats": 1.0, "look_error": 0.1}
DAMAGED = [
    '{"step": 2, "loss": "2.0"}',
    '{"step": "2", "loss": 2.0}',
    '{"step": true, "loss": 2.0}',
    '{"step": null, "loss": 2.0}',
    '{"step": 2.5, "loss": 2.0}',
    '{"step": 2, "loss": {}}',
    '{"step": 2, "loss": 2.0, "held_out": 1.0, "held_out_errpr": 0.5}',
    '{"step": 2, "loss": 2.0, "held_out": 1.0, "held_out_error": "x"}',
    '{"step": 2, "look_nats": 1.0, "loak_error": 0.5}',
    '{"step": 2, "look_bits_per_dim": [1.0], "look_error": 0.5}',
    f'{{"step": 1{"0" * 400}, "loss": 2.0}}',
    f'{{"step": 2, "loss": 1{"0" * 400}}}',
    "[" * 100_000,
    '{"step": ' + "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: line[:40])
def test_a_damaged_line_of_metrics_is_dropped(line, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    assert read_metrics(tmp_path) == [GOOD]
    forget_after(tmp_path, 5)
    assert path.read_text() == json.dumps(GOOD) + "\n"


@pytest.mark.slow
def test_no_flipped_bit_of_metrics_stops_a_run(tmp_path, monkeypatch):
    """Every one is flipped. What the curve takes from a row is taken here, without the drawing."""
    path = tmp_path / "metrics.jsonl"
    whole = (json.dumps({"step": 1, "loss": 3.0}) + "\n" + json.dumps(GOOD) + "\n").encode()

    def take(rows, _):
        for row in rows:
            assert isinstance(row.get("loss") or 0.0, (int, float))
            if row.get("held_out") is not None:
                assert float(row["held_out_error"] or 0.0) is not None
            if "look_nats" in row:
                assert float(row["look_error"]) is not None

    monkeypatch.setattr("score_sde.runs.metrics.loss_curve", take)
    monkeypatch.setattr("score_sde.runs.metrics.write_atomically", lambda path, write: write(path))
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        forget_after(tmp_path, 5)
        draw_curve(tmp_path)
        assert len(read_metrics(tmp_path)) >= 0
