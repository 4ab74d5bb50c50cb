"""The HTTP door: translates requests into operations of the register, and outcomes into answers."""
