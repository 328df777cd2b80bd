"""How runs train: updates, packs, sessions, phases, and the page of it all, run."""
