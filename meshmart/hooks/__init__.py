"""The programs that the chart's hook jobs run in the cluster.

May be imported by nothing. Start reading in `credentials`.
"""
