"""What the chart's hook jobs run in the cluster."""
