"""Where our own time goes: a program for each stage."""
