"""Micro-benchmarks: what each single step costs, beside the bare command that it cannot do without.

pytest-benchmark runs them, `shopbench run micro` runs it. Each is measured call by call (`iterations=1`), so
that its percentiles mean something; they are added to the JSON that pytest-benchmark writes.
"""
