"""`python -m deploy.prometheus` writes the alert rules as an object of the Prometheus operator."""

from pathlib import Path

_ALERTS = Path(__file__).with_name("alerts.yml")
FILE = Path(__file__).parents[1] / "k8s/components/monitoring/prometheus-rule.yaml"

_HEAD = """\
# Made from deploy/prometheus/alerts.yml by `make dashboards`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: litellm-gateway
spec:
"""


def make_rule() -> str:
    """kustomize cannot put the text of a file into a field."""
    lines = _ALERTS.read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    return _HEAD + "".join(f"  {line}\n" if line else "\n" for line in rules)


if __name__ == "__main__":
    FILE.write_text(make_rule())
