# TensorFlow 2.x, on CPUs or GPUs. hadolint finds nothing; it was never built, for want of Docker.
#   docker build -f deploy/tf2.Dockerfile -t {{ cookiecutter.project_slug }}:tf2 .
#   docker build -f deploy/tf2.Dockerfile -t {{ cookiecutter.project_slug }}:tf2-gpu --build-arg CUDA=-cuda .
# The base is Python 3.12 on Debian 12, of 2025. CUDA comes with the wheels; the host needs only NVIDIA's driver.
FROM python:3.12.12-slim-bookworm
# -cuda adds CUDA's libraries.
ARG CUDA=""
WORKDIR /project
# Process 1 of a container has no default actions for signals: tini passes them on.
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends tini
COPY requirements/tf2.txt requirements/tf2-cuda.txt requirements/
RUN pip install --no-cache-dir -r requirements/tf2.txt -r "requirements/tf2${CUDA}.txt"
COPY . .
RUN useradd --uid 1000 train && mkdir -p runs datasets && chown 1000 . runs datasets
USER 1000
ENTRYPOINT ["tini", "--", "python", "-m", "{{ cookiecutter.project_slug }}.train"]
