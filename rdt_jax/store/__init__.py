"""What lies in a workdir: run folders, checkpoints, leases, packs, environments."""
