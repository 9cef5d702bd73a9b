# TensorFlow 1.15 on GPUs. hadolint finds nothing; it was never built, for want of Docker.
#   docker build -f deploy/tf1-gpu.Dockerfile -t {{ cookiecutter.project_slug }}:tf1-gpu .
# The base is TensorFlow's own image of January 2021: Ubuntu 18.04 with CUDA 10.0 and cuDNN 7, for which
# tensorflow-gpu is built. They run on GPUs up to Turing (2018); for newer ones take tf2.Dockerfile, or tf1-nvidia.Dockerfile.
FROM tensorflow/tensorflow:1.15.5-gpu
WORKDIR /project
# NVIDIA has changed the key of its package lists since; nothing is needed from there. The image's Python is 3.6.
# tini passes signals on: process 1 of a container has no default actions for them.
# hadolint ignore=DL3008,DL3009
RUN rm -f /etc/apt/sources.list.d/cuda.list /etc/apt/sources.list.d/nvidia-ml.list \
 && apt-get update \
 && apt-get install -y --no-install-recommends python3.7 python3.7-venv tini \
 && python3.7 -m venv /venv
COPY requirements/tf1.txt requirements/
# The list is for processors: since 1.15.2 CUDA has a package of its own.
RUN /venv/bin/pip install --no-cache-dir pip==24.0 \
 && /venv/bin/pip install --no-cache-dir -r requirements/tf1.txt \
 && /venv/bin/pip uninstall --yes tensorflow \
 && /venv/bin/pip install --no-cache-dir --no-deps tensorflow-gpu==1.15.5
COPY . .
RUN useradd --uid 1000 train && mkdir -p runs datasets && chown 1000 . runs datasets
USER 1000
ENTRYPOINT ["tini", "--", "/venv/bin/python", "-m", "{{ cookiecutter.project_slug }}.train"]
