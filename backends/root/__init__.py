"""The root process of `--sudo`: it opens for one target what takes privileges, hands the descriptors over, and does nothing
else. It parses nothing that a target has written."""
