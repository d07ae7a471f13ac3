"""`python -m deploy.grafana` writes the dashboard beside this file."""

from pathlib import Path

from deploy.grafana.dashboard import make_dashboard

FILE = Path(__file__).with_name("litellm-gateway.json")

if __name__ == "__main__":
    FILE.write_text(make_dashboard())
