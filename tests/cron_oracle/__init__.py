"""A second opinion on every schedule at every change of every zone's offset: ``make cron-oracle``.

``fields`` reads an expression, ``zones`` the zone files, ``rule`` walks the minutes of real time and applies the table
in the documentation of `zjobs.cron`. None of them knows how zjobs or its library does it. ``peers`` asks two other
libraries, and says for each difference which of our rules it comes from.
"""
