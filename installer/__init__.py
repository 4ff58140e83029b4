"""What `./mlops` runs: one module for each command."""
