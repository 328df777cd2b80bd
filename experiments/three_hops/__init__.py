"""When more loops are needed."""
