"""The examples run top to bottom and say what they promise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_runs_top_to_bottom(script, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


def test_there_is_one_for_each_package():
    text = {script.name: script.read_text() for script in EXAMPLES.glob("*.py")}
    for package in ("continual", "core_distill", "federated", "privacy"):
        assert any(f"from {package}" in content for content in text.values()), package
