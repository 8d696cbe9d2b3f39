"""What is: pure, typed readings of what users write. No kopf, no I/O, no clock."""
