# TensorFlow 1.15 on the GPUs of today. hadolint finds nothing; it was never built, for want of Docker.
#   docker build -f deploy/tf1-nvidia.Dockerfile -t {{ cookiecutter.project_slug }}:tf1-nvidia .
# The base is NVIDIA's last image of TensorFlow 1, of March 2023: its own 1.15.5, CUDA 12, Python 3.8. The driver is the host's.
FROM nvcr.io/nvidia/tensorflow:23.03-tf1-py3
WORKDIR /project
# Process 1 of a container has no default actions for signals: tini passes them on.
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends tini
COPY requirements requirements/
COPY scripts scripts/
# What is missing goes into an environment beside; TensorFlow, NumPy and protobuf stay NVIDIA's.
RUN python scripts/install.py --runtime installed --venv /venv
COPY . .
RUN useradd --uid 1000 train && mkdir -p runs datasets && chown 1000 . runs datasets
USER 1000
ENTRYPOINT ["tini", "--", "/venv/bin/python", "-m", "{{ cookiecutter.project_slug }}.train"]
