"""`python -m zjobs`: the same as the command `zjobs`."""

from zjobs.cli import main

if __name__ == "__main__":
    main()
