"""Runs experiments: the one folder that knows all the others."""

import os

# How MLflow behaves is decided when it is imported, and this comes before: it sends nothing about its use to anybody, a server
# that is down does not hold us up for minutes, and files that come and go by the hundred have no bar of their own.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}.items():
    os.environ.setdefault(_name, _value)
