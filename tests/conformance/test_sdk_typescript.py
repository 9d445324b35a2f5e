"""The official TypeScript SDK against Pensieve: ts/sdk.test.mjs, once for each major.

The cases are written in JavaScript for node's own test runner, whose report is shown when any of
them fails.
"""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT

FOLDER = ROOT / "tests/conformance/ts"


@pytest.fixture(scope="module")
def small_server(start_server):
    return start_server("--body-bytes-max", "16KiB", "--context", "256")


@pytest.mark.parametrize("sdk", ["sdk1", "sdk0"])
def test_sdk(server, small_server, sdk):
    node = shutil.which("node")
    assert node, "node is not installed"
    assert (FOLDER / "node_modules" / sdk).exists(), f"no {sdk}: run tests/setup-clients"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")}
    environment.update(SDK=sdk, PENSIEVE_URL=server.url, PENSIEVE_SMALL_URL=small_server.url)
    run = subprocess.run(
        [node, "--test", "--test-reporter=spec", "sdk.test.mjs"],
        cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
