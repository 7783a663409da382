"""The sections of Administration, one file each."""
