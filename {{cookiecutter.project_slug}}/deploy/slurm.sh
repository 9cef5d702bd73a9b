#!/bin/bash
# Trains on the nodes of a Slurm job: the first task is the chief, the next PS_TASKS hold the variables, the others work. With PS_TASKS=0 all
# train in step; when a task dies, all end with code 134, and the job has to be submitted again with the same run_dir.
# Checked by shellcheck, and tests read the variables that srun sets; no Slurm has run it.
#   sbatch deploy/slurm.sh data=digits trainer.last_step=5000
#SBATCH --job-name={{ cookiecutter.project_slug }}
#SBATCH --nodes=2
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=2
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
# A minute before its time is over each task gets SIGTERM, and the chief saves; a requeued job resumes from there.
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:-.}" # on a disk that all nodes share
export PS_TASKS="${PS_TASKS:-1}"
run_dir="runs/slurm-${SLURM_JOB_ID:?start this with sbatch}"
# A task that dies ends no other: the rest of the cluster trains without it.
srun --distribution=block --kill-on-bad-exit=0 --wait=0 \
  .venv/bin/python -m {{ cookiecutter.project_slug }}.train trainer=cluster "run_dir=$run_dir" "$@"
.venv/bin/python -m {{ cookiecutter.project_slug }}.evaluate "run_dir=$run_dir"
