"""The machine: files that are whole or absent, signals, devices, and where a result was made."""
