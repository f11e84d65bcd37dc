# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
#
#   docker build -t gdd .
#   docker run --rm --gpus all --shm-size=8g -v "$PWD/training-runs:/gdd/training-runs" -v "$PWD/datasets:/gdd/datasets" gdd demo
#
# The steps are those of docs/cluster.md; there is nothing in the image that `sh train.sh` would not install.
FROM python:3.11-slim
WORKDIR /gdd
COPY requirements.txt ./
COPY requirements requirements
RUN python -m pip install --no-cache-dir -r requirements.txt -r requirements/tensorboard.txt
COPY . .
ENV VENV=none PYTHON=python PYTHONUNBUFFERED=1
RUN sh train.sh --list
ENTRYPOINT ["sh", "train.sh"]
CMD ["demo"]
