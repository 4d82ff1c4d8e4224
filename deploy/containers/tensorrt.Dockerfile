# Crosslight on an x86-64 machine with an NVIDIA GPU: TensorRT and pycuda. From the repository's root:
#   docker build --file deploy/containers/tensorrt.Dockerfile --tag crosslight:tensorrt .
# 25.08 has CUDA 13, which needs NVIDIA's driver 580 or newer; for an older driver: --build-arg BASE=...:25.06-py3.
# How to run it: docs/containers.md.
ARG BASE=nvcr.io/nvidia/tensorrt:25.08-py3

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/crosslight
# What is installed depends on these alone, so a change of our code, which its scripts find by themselves, leaves the
# large layer as it is. OpenCV is the one without windows: nobody sees them here, and they bring Qt and Mesa, 440 MB.
COPY pyproject.toml constraints.txt README.md LICENSE deploy/containers/constraints-pycuda.txt ./
# pycuda is compiled, against CUDA's stub of the driver and without cuRAND, which nothing here uses. TensorRT is the
# image's own: pip is told its version, so that it fails where there is none and never fetches another.
RUN printf 'CUDA_ROOT = "/usr/local/cuda"\nCUDA_ENABLE_CURAND = False\n' > /root/.aksetup-defaults.py \
    && tensorrt="$(python3 -c 'import importlib.metadata as m; print(m.version("tensorrt"))')" \
    && echo "tensorrt==${tensorrt}" > constraints-image.txt \
    && python3 -m venv --system-site-packages .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt \
        --constraint constraints-pycuda.txt --constraint constraints-image.txt --editable ".[tensorrt]" \
    && .venv/bin/pip uninstall --yes opencv-python \
    && sed --quiet 's/^opencv-python==/opencv-python-headless==/p' constraints.txt > headless.txt \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --requirement headless.txt

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
ENV PATH=/opt/crosslight/.venv/bin:$PATH
USER crosslight
# Gallery and sightings. The engine folder and the site's files are mounted read-only at /engine and /site.
WORKDIR /data
VOLUME /data
EXPOSE 8080
# The loop has not turned for 10 s, or no page listens at this port. --auto-build takes minutes before the first answer.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "/opt/crosslight/deploy/run_cameras.py", "--engine", "/engine"]
CMD ["--site", "/site/site.yaml", "--patient", "--web"]
