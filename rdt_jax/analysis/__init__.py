"""From run folders to numbers; one question per file."""
