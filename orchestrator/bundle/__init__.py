"""Models as one file: out of a store, across an air gap, into another store."""
