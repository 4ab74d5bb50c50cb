"""Where the register is kept: tables, the one writer, the readers, ids and migrations."""
