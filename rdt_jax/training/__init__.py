"""State to state: losses, optimizers, steps, phases, records, checkpoints, the loop."""
