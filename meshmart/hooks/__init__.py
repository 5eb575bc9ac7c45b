"""The programs that the chart's hook jobs run in the cluster."""
