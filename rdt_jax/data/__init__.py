"""From a table to the rows of an update."""
