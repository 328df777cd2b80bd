"""How runs train: updates, packs, sessions, phases, and the page that joins them, run."""
