import runpy
from pathlib import Path

from continual import DistilledBuffer

EXAMPLE = Path(__file__).parents[2] / "examples" / "continual_replay.py"


def test_the_example_runs_and_its_buffer_can_be_read_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLE))
    assert "memory: 20 images" in capsys.readouterr().out
    assert names["evaluator"].get_last_metrics()["Top1_Acc_Stream/eval_phase/test_stream/Task000"] > 0.5
    buffer = DistilledBuffer(20, names["recipe"], seed=0)
    buffer.load(tmp_path / "runs/continual_replay/buffer.safetensors")
    assert len(buffer.buffer) == 20
