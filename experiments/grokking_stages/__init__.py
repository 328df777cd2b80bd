"""When train, ID and OOD accuracy arrive, by loop depth."""
