"""`python -m nas`: the same commands as the console script `nas`."""

from nas.cli.app import main

if __name__ == "__main__":
    main()
