# TensorFlow 1.15 on CPUs. hadolint finds nothing; it was never built, for want of Docker.
#   docker build -f deploy/tf1-cpu.Dockerfile -t {{ cookiecutter.project_slug }}:tf1 .
# The base is the last Python 3.7, of June 2023, on Debian 12.
FROM python:3.7.17-slim-bookworm
WORKDIR /project
# Process 1 of a container has no default actions for signals: tini passes them on.
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install -y --no-install-recommends tini
COPY requirements/tf1.txt requirements/
RUN pip install --no-cache-dir -r requirements/tf1.txt
COPY . .
RUN useradd --uid 1000 train && mkdir -p runs datasets && chown 1000 . runs datasets
USER 1000
ENTRYPOINT ["tini", "--", "python", "-m", "{{ cookiecutter.project_slug }}.train"]
