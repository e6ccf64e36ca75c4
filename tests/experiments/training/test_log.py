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


def test_the_last_steps_have_a_line_where_they_are_fewer(tmp_path, capsys):
    log = TrainingLog(tmp_path, step=20, last_step=23, batch_size=4, every=20, writes=True)
    for step in (21, 22, 23):
        log.step(step, step / 10, {"loss": float(step)})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (lines[-1]["step"], lines[-1]["loss"]) == (23, 22.0)
    assert "23/23, 00:00 left" in (said := capsys.readouterr().err) and "loss 22" in said


def test_the_bar_says_why_nothing_happens_before_the_first_step(tmp_path, capsys):
    log = TrainingLog(tmp_path, step=2, last_step=20, batch_size=4, every=2, writes=True)
    assert "2/20, ? left, compiling" in capsys.readouterr().err
    log.step(3, 0.3, {"loss": 1.0})
    log.close()
    assert "compiling" not in capsys.readouterr().err


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


def test_a_process_that_does_not_write_leaves_nothing(tmp_path, capsys):
    log = TrainingLog(tmp_path, step=2, last_step=6, batch_size=4, every=2, writes=False)
    for step in (3, 4, 5, 6):
        log.step(step, step / 10, {"loss": float(step)})
    log.write(6, 0.6, {"AP": 0.25})
    log.say("tested")
    log.pause()
    log.close()
    assert capsys.readouterr() == ("", "") and list(tmp_path.iterdir()) == []
