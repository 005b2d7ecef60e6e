#!/bin/sh
# Print the full name of the first Python that zjobs can be built with (3.11 or newer), or nothing.
for name in python3 python3.14 python3.13 python3.12 python3.11; do
    path=$(command -v "$name") || continue
    "$path" -c 'import sys
if sys.version_info < (3, 11): sys.exit(1)
print(sys.executable)' 2>/dev/null && exit 0
done
exit 0
