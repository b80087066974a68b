#!/usr/bin/env bash
# All that only a GPU can tell, in under 8 minutes: the tests in tests/gpu, then benchmarks.gpu.
# Needs PyTorch for the GPU; what else the chat and the tests need is installed if it isn't there.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
"$python" -c "import gradio, gguf, gradio_client, hypothesis, pytest, pytest_timeout, transformers" 2>/dev/null ||
  "$python" -m pip install --quiet --requirement requirements.txt hypothesis pytest pytest-timeout || exit
# tests/gpu alone: the other tests need a browser, too
TESTS_USE_GPU=1 "$python" -m pytest -q -p no:cacheprovider --confcutdir=tests tests/gpu "$@"
tests=$?
"$python" -m benchmarks.gpu
benchmark=$?
exit $((tests + benchmark))
