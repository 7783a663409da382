"""The sections of the Data screen."""
