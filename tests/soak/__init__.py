"""Hours at half of peak rate with a random fault each minute, and what that does to memory, descriptors and tables.

`driver` starts a producer and workers, as `crash` does, and lets `faults` happen to them. `samples` looks at the
processes and the store each few seconds. `ledger` reads the marks while they grow, hands everything that is over to the
checker of `crash`, and forgets it: a run may last for days. `verdicts` judges the samples, and `picture` draws them.

From the folder of the tests: `python -m soak --store sqlite --hours 2`, which `make soak` does.
"""
