"""The wheel in an empty environment: it brings all that it needs, the sidecar's source and lockfile included."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).parent / "uv"

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("processes")]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_serves_from_an_empty_environment(tmp_path: Path) -> None:
    run(UV, "build", "--wheel", "--no-build-isolation", "--out-dir", tmp_path, ROOT, cwd=ROOT)
    [wheel] = tmp_path.glob("*.whl")
    env = tmp_path / "env"
    run(UV, "venv", "--python", sys.executable, env, cwd=tmp_path)
    run(UV, "pip", "install", "--python", env / "bin/python", "-c", ROOT / "requirements.txt", wheel, cwd=tmp_path)
    assert run(env / "bin/holdfast", "--version", cwd=tmp_path).startswith("holdfast ")

    data = tmp_path / "data"
    settings = {
        **os.environ,  # how this machine reaches the npm registry is part of it
        "HOLDFAST_PORT": "0",
        "HOLDFAST_DATA_DIR": str(data),
        "HOLDFAST_API_KEY": "key-of-the-wheel",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [env / "bin/holdfast", "serve"], cwd=tmp_path, env=settings, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert server.stdout is not None
        said = next((line for line in server.stdout if "is ready" in line), "")
        assert re.search(r"http://localhost:\d+/dashboard", said), (tmp_path / "log").read_text()
        assert (data / "sidecar/src/main.ts").exists(), "the sidecar came with the wheel"
        server.send_signal(signal.SIGTERM)
        server.stdout.read()
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
