"""Interpreters that end at random moments, in the midst of everything, and whether they did so in order.

`scenes` is the process that ends, `driver` plans one end from a seed, runs and judges it;
`python -m exits` runs many.
"""
