"""What to show and to watch of the metrics: Grafana's dashboard and Prometheus' rules, from one definition."""
