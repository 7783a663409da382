"""The sections of the screen Live performance, each in a file of its own."""
