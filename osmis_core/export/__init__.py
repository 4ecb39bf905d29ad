"""What leaves the system: the zip of a sample set and the contact sheet."""
