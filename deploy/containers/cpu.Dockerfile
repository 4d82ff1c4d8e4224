# Crosslight on an x86-64 or aarch64 CPU: OpenVINO and ONNX Runtime. From the repository's root:
#   docker build --file deploy/containers/cpu.Dockerfile --tag crosslight:cpu .
# How to run it: docs/containers.md.
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /opt/crosslight
# What is installed depends on these alone, so a change of our code, which its scripts find by themselves, leaves the
# large layer as it is. OpenCV is the one without windows: nobody sees them here, and they bring Qt and Mesa, 440 MB.
# OpenVINO reports every start to Google Analytics where openvino-telemetry is installed.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt --editable ".[cpu]" \
    && .venv/bin/pip uninstall --yes opencv-python \
    && sed --quiet 's/^opencv-python==/opencv-python-headless==/p' constraints.txt > headless.txt \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --requirement headless.txt \
    && .venv/bin/pip uninstall --yes openvino-telemetry pip

FROM ${BASE}
# The uid is fixed, so that folders of the host can be given to it.
RUN groupadd --gid 10001 crosslight \
    && useradd --uid 10001 --gid crosslight --groups video --home-dir /data --shell /usr/sbin/nologin crosslight \
    && install --directory --owner crosslight --group crosslight --mode 0700 /data
WORKDIR /opt/crosslight
COPY --from=build /opt/crosslight ./
COPY engines engines
COPY calib calib
COPY train train
COPY deploy deploy
RUN .venv/bin/python -m compileall -q engines calib train deploy
# ONNX Runtime reports its use to Microsoft unless told otherwise.
ENV PATH=/opt/crosslight/.venv/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1
USER crosslight
# Gallery and sightings. The engine folder and the site's files are mounted read-only at /engine and /site.
WORKDIR /data
VOLUME /data
EXPOSE 8080
# The loop has not turned for 10 s, or no page listens at this port (--web and --listen: 8080).
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "/opt/crosslight/deploy/run_cameras.py", "--engine", "/engine"]
CMD ["--site", "/site/site.yaml", "--patient", "--web"]
