# Enhances photographs and videos in a container, as a user without privileges:
#
#     docker build -t zerodce .
#     docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" zerodce enhance night.jpg -o bright
#
# With JAX on NVIDIA GPUs, also for training:
#
#     docker build -t zerodce:cuda --build-arg EXTRAS=cuda,evaluate,heif,raw,video .
#     docker run --rm --gpus all -v "$PWD:/work" --user "$(id -u):$(id -g)" zerodce:cuda train --data photographs --workdir run
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=heif,raw,video
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/zerodce
ENV PATH=/opt/zerodce/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY native /source/native
RUN pip install /source/native
COPY pyproject.toml README.md MODEL_CARD.md CHANGELOG.md LICENSE /source/
COPY docs/training-data.csv /source/docs/
COPY zerodce_jax /source/zerodce_jax
RUN pip install "/source[${EXTRAS}]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/zerodce /opt/zerodce
# The cache for compiled programs; any user may write there.
ENV PATH=/opt/zerodce/bin:$PATH XDG_CACHE_HOME=/tmp/cache
RUN useradd --create-home zerodce && mkdir /work && chown zerodce /work
USER zerodce
WORKDIR /work
ENTRYPOINT ["zerodce"]
CMD ["--help"]
