"""The sections of the Metrics screen, one file each: `show(context)` lays out and computes nothing of its own."""
