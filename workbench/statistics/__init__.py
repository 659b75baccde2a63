"""Intervals, ranks, nulls, p values and corrections: the only place where they are computed.

Every function says what it assumes, where its formula comes from, and when it refuses. Clusters are documents (groups of a data
set), else examples; copies of a text are one.
"""
