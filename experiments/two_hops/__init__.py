"""What decides whether more loops are sooner."""
