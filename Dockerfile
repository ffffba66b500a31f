# nlptasks serve in a container. CPU unless told otherwise:
#   docker build -t nlptasks .
#   docker build -t nlptasks --build-arg EXTRAS=tensorflow-cuda,serve .
FROM python:3.12-slim

ARG EXTRAS=tensorflow,serve
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY nlptasks ./nlptasks
# the versions are those that pyproject.toml allows
# hadolint ignore=DL3013
RUN python -m pip install ".[${EXTRAS}]" \
    && useradd --create-home --uid 1000 serve

# models are mounted here; nothing is written to them
VOLUME ["/models"]
WORKDIR /models
USER 1000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["nlptasks", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "segmenter", "similarity"]
