"""Write the tables: `python -m benchmarks.docs_tables`."""

from benchmarks.docs_tables import main

if __name__ == "__main__":
    main()
