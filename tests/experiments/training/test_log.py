import json

import pytest

from experiments.training.log import TrainingLog


def write_log(workdir, first, last, loss):
    """One run of a training, which logs the steps after `first`."""
    log = TrainingLog(workdir, step=first, last_step=20, batch_size=4, every=2, writes=True)
    for step in range(first + 1, last + 1):
        log.step(step, step / 10, {"loss": loss + step, "learning_rate": 0.5})
    log.write(last, last / 10, {"AP": 0.25, "AP_area_large": None})
    log.close()


def test_a_line_is_the_mean_of_its_steps(tmp_path, capsys):
    write_log(tmp_path, 0, 4, loss=10)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines] == [(2, 0.2), (4, 0.4), (4, 0.4)]
    assert [line["loss"] for line in lines[:2]] == [11.5, 13.5]
    assert lines[1]["images_per_second"] > 0
    assert lines[2] == {"step": 4, "epoch": 0.4, "AP": 0.25, "AP_area_large": None}
    said = capsys.readouterr().err
    assert "images/s, loss 13.5, lr 0.5" in said and "4/20" in said


def test_tensorboard_shows_what_was_kept(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorflow.compat.v1.train import summary_iterator

    write_log(tmp_path, 0, 4, loss=10)
    write_log(tmp_path, 2, 6, loss=30)
    shown = {}
    for file in sorted((tmp_path / "tensorboard").iterdir()):
        for event in summary_iterator(str(file)):
            if event.HasField("session_log"):  # TensorBoard's rule for what was begun anew
                shown = {key: value for key, value in shown.items() if key[0] < event.step}
            for value in event.summary.value:
                shown[event.step, value.tag] = value.simple_value
    losses = {step: value for (step, tag), value in shown.items() if tag == "loss"}
    assert losses == {2: 11.5, 4: 33.5, 6: 35.5}
    assert shown[6, "learning_rate"] == 0.5
    assert [key for key in shown if key[1].startswith("AP")] == [(6, "AP")]
