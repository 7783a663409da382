"""The sections of the Training screen."""
