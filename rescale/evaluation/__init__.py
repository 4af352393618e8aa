"""Evaluation by the papers' protocol: scores, tables, cycles, crops, published rows."""
