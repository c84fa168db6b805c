"""People's feedback: the store, its schema and migrations, assignment, prompts, snapshots, simulated labelers. Torch-free."""
