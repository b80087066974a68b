# The chat in a container, for a server or a Docker Space.
#   docker build -t hfdemo .                                   on a CPU
#   docker build -t hfdemo --build-arg DEVICE=cuda .           on an NVIDIA GPU
#   docker run -p 127.0.0.1:7860:7860 -e HFDEMO_PRIVATE=1 -v hfdemo:/home/user/.cache/huggingface hfdemo
# With a GPU, add --gpus all. HFDEMO_PRIVATE says that only this machine reaches the page. compose.yaml does the same.
FROM python:3.12-slim

ARG DEVICE=cpu

RUN useradd --uid 1000 --create-home user \
    && install -d -o user -g user /home/user/app /home/user/.cache/huggingface

WORKDIR /home/user/app

# PyPI's torch brings CUDA along, several GB; PyTorch's own index has one without.
COPY requirements.txt ./
RUN if [ "$DEVICE" = cpu ]; then \
        pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch' requirements.txt)"; \
    fi \
    && pip install --no-cache-dir -r requirements.txt

COPY app.py ./
COPY hfdemo hfdemo

USER 1000

ENV HOME=/home/user \
    HF_HOME=/home/user/.cache/huggingface \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    PYTHONUNBUFFERED=1

# The models stay here when the container goes.
VOLUME /home/user/.cache/huggingface

EXPOSE 7860

# The model loads while the page answers already, so that a start takes seconds. No proxy leads to the page.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as asks; asks.build_opener(asks.ProxyHandler({})).open('http://127.0.0.1:%s/healthz' % os.environ['GRADIO_SERVER_PORT'], timeout=5)"]

CMD ["python", "app.py"]
