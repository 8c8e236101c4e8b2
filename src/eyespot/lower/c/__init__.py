"""A network in 8 bits as plain C99 for microcontrollers: whole numbers alone, one planned block of memory."""
