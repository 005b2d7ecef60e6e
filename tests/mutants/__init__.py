"""Mutation testing of the Python side: ``make mutants-python``.

``changes`` makes small faults in a module, most of them by Cosmic Ray's operators. ``trial`` runs the module's tests
on each fault in a forked process, with the tests that reach its line. What no test notices must stand in
``python.toml`` with the reason why that is no gap.
"""
